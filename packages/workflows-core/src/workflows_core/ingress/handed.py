"""Deliveries that the router of a process leaves to its own sender, which need not look for them.

Their rows are as those of others, `new`, and left to this process for the time of a lease: what gets lost with it is
sent by whoever looks next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from workflows_core.storage.deliveries import Delivery


class Handed:
    """Between the two lanes of a process.

    Args:
        lease_seconds: So long they are left to this process.
        limit: With so many waiting nothing more is left to it: the database is the queue.
    """

    def __init__(self, lease_seconds: float, limit: int) -> None:
        self._lease_seconds = lease_seconds
        self._limit = limit
        self._waiting: list[Delivery] = []
        self._gave = False
        self.on_add: Callable[[], None] = lambda: None
        """Called when there is something to send."""

    @property
    def lease_seconds(self) -> float:
        """For what is routed now; 0 leaves it to everybody."""
        return self._lease_seconds if len(self._waiting) < self._limit else 0.0

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Their rows are committed."""
        before = len(self._waiting)
        self._waiting += deliveries
        if len(self._waiting) > before:
            self.on_add()

    def take(self) -> list[Delivery]:
        """All that wait, but nothing after something: in between the sender looks at what others left."""
        self._gave = not self._gave and bool(self._waiting)
        return self.take_rest() if self._gave else []

    def take_rest(self) -> list[Delivery]:
        """All that wait."""
        taken, self._waiting = self._waiting, []
        return taken
