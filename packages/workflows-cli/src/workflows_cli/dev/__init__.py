"""The development stack: embedded servers and both workers as processes."""
