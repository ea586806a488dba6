"""What a loop of this library tells the supervisor of its process."""

from __future__ import annotations

from typing import Protocol


class LoopProgress(Protocol):
    """Told on every pass."""

    def mark(self, detail: str = "") -> None:
        """A pass was made."""
        ...

    def degraded(self, reason: str) -> None:
        """A pass could not be made; the loop tries on."""
        ...
