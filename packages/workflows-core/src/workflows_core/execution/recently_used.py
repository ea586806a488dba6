"""What a process keeps of what it can make again: what was used last, up to a weight."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class RecentlyUsed(Generic[_K, _V]):
    """Values by key. The newest stays however much it weighs; for one thread at a time.

    Args:
        most: What all of them may weigh together.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: OrderedDict[_K, tuple[_V, int]] = OrderedDict()
        self._weight = 0

    def get(self, key: _K) -> _V | None:
        """The value, which counts as used now; None where it is not kept."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: _K, value: _V, weight: int) -> None:
        """Keeps it, in place of those that were not used for longest."""
        _, before = self._kept.pop(key, (None, 0))
        self._kept[key] = (value, weight)
        self._weight += weight - before
        while self._weight > self.most and len(self._kept) > 1:
            _, (_, freed) = self._kept.popitem(last=False)
            self._weight -= freed
