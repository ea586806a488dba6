"""E-mail sending: one protocol, SMTP and an HTTP provider, and the action `email.send`."""
