"""The application: HTTP API and executor of application-only actions."""
