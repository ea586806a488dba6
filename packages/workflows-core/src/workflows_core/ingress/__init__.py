"""Event ingress: routes events of the stream to runs, and sends what it routed."""
