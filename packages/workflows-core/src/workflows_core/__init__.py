"""The authored-workflow runtime; the public modules are listed in docs/architecture.md."""
