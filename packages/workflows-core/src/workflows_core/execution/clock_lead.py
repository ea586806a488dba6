"""How far Temporal's clock is ahead of this machine's, by what it says of when activities began."""

from __future__ import annotations

import time
from collections import deque
from datetime import datetime

_SAMPLES = 64
_ENOUGH = 8
"""Of so many one has come at once, also on a busy machine."""
_SET_SECONDS = 0.1
"""A clock that has gone by so much more or less than time has was set, or its machine was suspended."""


class ClockLead:
    """The largest of the last samples: the way here, which a busy moment makes long, lets that clock look late."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=_SAMPLES)
        self._base = _base()

    def seen(self, began: datetime) -> float:
        """Milliseconds, with one more activity that began then, by Temporal, and is here now."""
        self._forget_another_clock()
        self._samples.append((began.timestamp() - time.time()) * 1000)
        return max(self._samples)

    def seconds(self) -> float | None:
        """What is known by now; None for less than enough."""
        self._forget_another_clock()
        return max(self._samples) / 1000 if len(self._samples) >= _ENOUGH else None

    def _forget_another_clock(self) -> None:
        """What was seen by this machine's clock before it was set says nothing of it now."""
        before, self._base = self._base, _base()
        if abs(self._base - before) > _SET_SECONDS:
            self._samples.clear()


def _base() -> float:
    """Seconds between this machine's clock and one that nobody sets."""
    return time.time() - time.monotonic()
