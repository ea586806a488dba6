"""Background jobs: handlers, their activities, and what is recorded about them."""
