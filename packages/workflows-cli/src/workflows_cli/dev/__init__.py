"""The development stack: embedded servers and the services as processes."""
