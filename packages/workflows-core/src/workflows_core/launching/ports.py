"""What launching needs from outside; services and command line fill it with service-host's probe."""

from __future__ import annotations

from typing import Protocol


class PollerProbe(Protocol):
    """Knows whether anybody polls a queue."""

    async def is_polled(self, queue: str) -> bool | None:
        """True or False; None when that cannot be told."""
        ...
