"""workflow-worker: the one process that owns everything authored."""
