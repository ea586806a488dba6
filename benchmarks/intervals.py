"""How far a median of noisy pairs can be believed."""

from __future__ import annotations

import math
from collections.abc import Sequence


def interval_of_median(found: Sequence[float], certainty: float = 0.95) -> tuple[float, float] | None:
    """Least and most that the true median may be, by the sign test: nothing is supposed of how the figures are spread.

    None where there are too few of them (below six for 0.95).
    """
    ordered, count = sorted(found), len(found)
    left_out, chance = -1, 0.0
    while left_out < count // 2:
        chance += math.comb(count, left_out + 1) / 2**count
        if chance > (1 - certainty) / 2:
            break
        left_out += 1
    return None if left_out < 0 else (ordered[left_out], ordered[count - 1 - left_out])


def told_interval(interval: tuple[float, float] | None) -> str:
    """The interval as a text."""
    return "too few to say how far it holds" if interval is None else f"95 %: {interval[0]:.2f} to {interval[1]:.2f}"
