"""The HTTP API: runs and events of a tenant, through the one launcher."""
