"""Suggestions for mistyped names."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST = 100
"""A longer name has no suggestion: finding one takes as long as its length squared."""


def distance(left: str, right: str) -> int:
    """Levenshtein distance: insertions, deletions and replacements that turn one text into the other."""
    previous = list(range(len(right) + 1))
    for row, a in enumerate(left, 1):
        current = [row]
        for column, b in enumerate(right, 1):
            current.append(min(previous[column] + 1, current[-1] + 1, previous[column - 1] + (a != b)))
        previous = current
    return previous[-1]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was likely meant, or None.

    A name of up to 4 characters may be off by 1, of up to 8 by 2, a longer one by 3. Case does not count.
    """
    if len(name) > _LONGEST:
        return None
    budget = 1 if len(name) <= 4 else 2 if len(name) <= 8 else 3
    scored = sorted(
        (distance(name.lower(), candidate.lower()), candidate[:1] != name[:1], candidate)
        for candidate in known
        if abs(len(candidate) - len(name)) <= budget
    )
    return scored[0][2] if scored and scored[0][0] <= budget else None
