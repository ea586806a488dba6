"""What the code base promises: import contracts, queue ownership, schemas. Nothing here is installed."""
