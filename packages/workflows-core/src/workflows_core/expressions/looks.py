"""What a look of the engine at a text costs with a pattern: it counts looks, whatever each of them goes over."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

_FAR = re.compile(r"\(\?<?[=!]|\\[1-9k]")
_LEAST = re.compile(r"\{(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Looks:
    """The looks of some patterns.

    Attributes:
        size: How much longer one takes than with a simple pattern.
        reach: Characters that one may go over: the engine does not count those of `a{500}` or `(?=a*)`.
    """

    size: int = 0
    reach: int = 0

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Looks:
        """Measures the patterns; the dearest counts."""
        sizes, reaches = [0], [0]
        for pattern in patterns:
            loops = sum(pattern.count(sign) for sign in "?*+{")
            sizes.append(len(pattern) // 64 + loops // 8)
            far = _FAR.search(pattern) is not None
            reaches.append(sys.maxsize if far else max((int(least) for least in _LEAST.findall(pattern)), default=0))
        return cls(max(sizes), max(reaches))
