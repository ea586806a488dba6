"""Expressions: JSONata behind a port, deterministic and bounded."""
