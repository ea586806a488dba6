"""How far an expression may go over the data it meets: steps times bytes, tried from little to much.

The engine counts steps, and not what a step touches. So an expression whose steps may touch the same data again begins
with few steps and short values, and is begun anew with more of what it has run out of, until that is too much work.
What fits gives the same value in any of them: only limits differ, and no expression can tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from workflows_core.expressions.engine import Limits
from workflows_core.expressions.pricing import FULL, Price

BYTES_OF_ITEM: Final = 16
"""What an item of a list counts as."""

_FIRST_STEPS = 512
_FIRST_BYTES = 4 * 1024
_GROWTHS = (4, 2)
_FEWEST_STEPS = 32
_STEPS_OF_CALL = 32
"""A call over all of the data, once, costs as much as so many steps of an expression that repeats."""
_MEASURING = 1 / 4
"""Price of a step for a byte of a value that is measured: most steps do not measure."""
_ONCE = 4
"""An expression that touches its data once may be so many times the work: it fills a workflow task of its own."""


def work_at_once(price: Price, size: int) -> int:
    """The work of an expression that touches its data once: what it reads, for each operation over it."""
    return int(price.operations * size * price.factor * _STEPS_OF_CALL)


def needs_attempts(price: Price, at_once: int, full: Limits) -> bool:
    """Whether steps are few where data is much; else the expression touches its data once, and that is little."""
    return price.repeats or at_once > _ONCE * full.max_work


class Attempts:
    """The attempts of an evaluation whose steps are few where data is much.

    Args:
        price: What the source may cost.
        size: Bytes of JSON that it reads.
        full: More than these limits no attempt has.
        measured: Whether values are measured that the expression makes: `max_result_bytes` is their longest, too.
    """

    def __init__(self, price: Price, size: int, full: Limits, *, measured: bool) -> None:
        self.price = price
        self.size = size
        self.full = full
        self.measured = measured

    def first(self) -> Limits:
        """The limits to begin with."""
        full = self.full
        made = min(max(_FIRST_BYTES, self.size), full.max_string_bytes)
        items = min(max(_FIRST_BYTES, self.size) // BYTES_OF_ITEM, full.max_array_length)
        steps = int(full.max_work / (max(_FIRST_BYTES, self.size) * self.price.factor))
        steps = max(1, min(_FIRST_STEPS, full.max_steps, steps))
        first = replace(full, max_steps=steps, max_string_bytes=made, max_array_length=items)
        return replace(first, max_result_bytes=max(_FIRST_BYTES, self.size)) if self.measured else first

    def wider(self, limits: Limits, exhausted: str) -> Limits | None:
        """More of the limit that was met, where there is more and it is not too much work."""
        for candidate in self._candidates(limits, exhausted):
            if candidate != limits and self.work(candidate) <= self.full.max_work:
                return candidate
        return None

    def work(self, limits: Limits) -> int:
        """Steps times bytes of what is read or may be made, as dear as the dearest step."""
        factor = self.price.factor
        made = max(limits.max_string_bytes, limits.max_array_length * BYTES_OF_ITEM)
        work = limits.max_steps * max(self.size, made) * factor
        if not self.measured:
            return int(work)
        # Up to that price it is texts, not values, that are gone through.
        of_values = _MEASURING if factor <= FULL else factor
        return int(max(work, limits.max_steps * limits.max_result_bytes * of_values))

    @property
    def _longest_value(self) -> int:
        # What is read may be longer than a result, and get a name.
        return max(self.size, self.full.max_result_bytes)

    def _candidates(self, limits: Limits, exhausted: str) -> Iterator[Limits]:
        for growth in _GROWTHS:
            yield self._grown(limits, exhausted, growth)
        if exhausted != "max_steps":
            # One long value, then, and few steps.
            grown = self._grown(limits, exhausted, _GROWTHS[0])
            steps = limits.max_steps * self.full.max_work // max(self.work(grown), 1)
            if _FEWEST_STEPS <= steps < limits.max_steps:
                yield replace(grown, max_steps=steps)

    def _grown(self, limits: Limits, exhausted: str, growth: int) -> Limits:
        full = self.full
        match exhausted:
            case "max_steps":
                return replace(limits, max_steps=min(limits.max_steps * growth, full.max_steps))
            case "max_string_bytes":
                return replace(limits, max_string_bytes=min(limits.max_string_bytes * growth, full.max_string_bytes))
            case "max_array_length":
                return replace(limits, max_array_length=min(limits.max_array_length * growth, full.max_array_length))
            case "max_result_bytes" if self.measured:
                return replace(limits, max_result_bytes=min(limits.max_result_bytes * growth, self._longest_value))
        return limits
