"""The only place that starts, signals and cancels authored runs."""
