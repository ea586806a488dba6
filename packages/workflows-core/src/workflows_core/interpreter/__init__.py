"""The interpreter: pure, serialisable, no input or output of its own."""
