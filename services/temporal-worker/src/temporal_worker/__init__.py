"""Owner of the domain Temporal workflows; never polls the authored queue."""
