"""Deliveries that this process routed just now: its sender need not look for them.

Their rows are as those of others, `new`, and left to this process for the time of a lease: what gets lost with it, or
takes too long here, is sent by whoever looks next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from workflows_core.storage.deliveries import Delivery


class JustRouted:
    """Between the two lanes of a process.

    Args:
        lease_seconds: So long they are left to this process.
        limit: With so many waiting nothing more is left to it: the database is the queue.
    """

    def __init__(self, lease_seconds: float, limit: int) -> None:
        self._lease_seconds = lease_seconds
        self._limit = limit
        self._waiting: list[tuple[float, Delivery]] = []
        self._gave = False
        self._away_until = 0.0
        self.on_add: Callable[[], None] = lambda: None
        """Called when there is something to send."""

    def lease_for(self, count: int) -> float:
        """Seconds that so many, which are routed now, are left to this process; 0 leaves them to everybody."""
        is_full = len(self._waiting) + count > self._limit
        return 0.0 if is_full or time.monotonic() < self._away_until else self._lease_seconds

    def add(self, deliveries: Sequence[Delivery]) -> None:
        """Their rows are committed."""
        if deliveries:
            deadline = time.monotonic() + self._lease_seconds
            self._waiting += [(deadline, delivery) for delivery in deliveries]
            self.on_add()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def take(self) -> list[Delivery]:
        """Some that wait; every second time none, so that the sender looks at the database too."""
        self._gave = not self._gave and bool(self._waiting)
        return self._next(self._limit) if self._gave else []

    def take_rest(self) -> list[Delivery]:
        """All that wait."""
        return self._next(len(self._waiting))

    def temporal_is_away(self) -> None:
        """For a while others may have better luck with what is routed here."""
        self._away_until = time.monotonic() + self._lease_seconds

    def _next(self, count: int) -> list[Delivery]:
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        now = time.monotonic()
        return [delivery for deadline, delivery in taken if now < deadline]


ALL_TO_EVERYBODY = JustRouted(0.0, 0)
"""For who routes or sends by itself: nothing is ever left to it."""
