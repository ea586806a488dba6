"""What publishing checks, with stable problem codes."""
