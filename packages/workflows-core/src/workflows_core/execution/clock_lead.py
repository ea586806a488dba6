"""How far Temporal's clock is ahead of this machine's, by what it says of when activities began."""

from __future__ import annotations

import time
from collections import deque
from datetime import datetime

_SAMPLES = 64
_ENOUGH = 8
"""Of so many one has come at once, also on a busy machine."""


class ClockLead:
    """The largest of the last samples: the way here, which a busy moment makes long, lets that clock look late."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=_SAMPLES)

    def seen(self, began: datetime) -> float:
        """Milliseconds, with one more activity that began then, by Temporal, and is here now."""
        self._samples.append((began.timestamp() - time.time()) * 1000)
        return max(self._samples)

    def seconds(self) -> float | None:
        """What is known by now; None for less than enough."""
        return max(self._samples) / 1000 if len(self._samples) >= _ENOUGH else None
