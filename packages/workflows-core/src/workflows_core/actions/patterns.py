"""Patterns of JSON Schemas, searched for by the expression engine, and what the check of one value may spend.

The standard library takes twice as long for each further character of some texts, and nothing ends it. The engine
counts what it looks at, so every search ends, and on every machine at the same place: workflow code checks, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from workflows_core.expressions.engine import Expression, ExpressionFailed, ExpressionInvalid, Limits
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.expressions.looks import Looks

MAX_PATTERN_LENGTH: Final = 1_000
"""Characters: the engine reads a pattern anew for each text."""

_ENGINE = JlensEngine()
_OWN_STEPS: Final = 5
"""What an expression takes before it looks for its pattern; each step more is a thousand looks, some 25 µs."""

_TRIES: Final = (3, 27, 2043)
"""Steps of looking: few are enough for most texts. After the last the pattern does not match."""

_OTHERWISE = re.compile(
    r"(?<!\\)(?:\\\\)*(?:\\(?:(?![bBcdDfknrsStuvwWx])[A-Za-z]|u(?![\da-fA-F]{4})|x(?![\da-fA-F]{2}))|\{,\d+\})"
)
"""Means something to other engines, and to this one mere letters: it would never match, and nobody would know why."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one check may spend.

    Attributes:
        checks: All of it; a keyword over a short value costs 1.
        reading: Price of a pattern when the check meets it first.
        tries: Price of a quick, a longer and a dear try to match a text.
        reference: Price of following a reference, beside that of its keyword.
    """

    checks: int
    reading: int
    tries: tuple[int, int, int]
    reference: int = 0


class TooLong(Exception):
    """The check has spent all it may."""


@dataclass(slots=True)
class _Account:
    prices: Budget
    left: int
    read: set[str] = field(default_factory=set)


_account: ContextVar[_Account | None] = ContextVar("check_account", default=None)


@contextmanager
def allow(budget: Budget) -> Iterator[None]:
    """The check inside may spend so much. Outside of any, each match is bounded, and nothing counts their number."""
    token = _account.set(_Account(budget, budget.checks))
    try:
        yield
    finally:
        _account.reset(token)


def spend(checks: int) -> None:
    """Counts.

    Raises:
        TooLong: There is not so much left.
    """
    account = _account.get()
    if account is not None:
        account.left -= checks
        if account.left < 0:
            raise TooLong


def price_of_look(length: int) -> int:
    """What looking at so many characters, items or fields costs: 64 of them as much as a keyword."""
    return length // 64


def spend_on_reference() -> None:
    """Counts a reference that is followed: two that lead to the same place double what comes behind them.

    Raises:
        TooLong: The check has spent all it may.
    """
    account = _account.get()
    if account is not None:
        spend(account.prices.reference)


def pattern_problem(pattern: str) -> str | None:
    """Why the pattern cannot be matched, in a sentence; None when it can."""
    if len(pattern) > MAX_PATTERN_LENGTH:
        return f"has {len(pattern)} characters, a pattern may have {MAX_PATTERN_LENGTH}"
    return None if _search_for(pattern) else f"is no pattern that expressions know: {pattern!r:.80}"


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found in the text; not if the engine does not know it, or has to try too much.

    Raises:
        TooLong: The check has spent all it may.
    """
    account = _account.get()
    if account is not None and pattern not in account.read:
        account.read.add(pattern)
        spend(account.prices.reading * (1 + len(pattern) // 512))
    search = _search_for(pattern)
    if search is None:
        return False
    weight = search.weight(text)
    done = 0
    for number, most in enumerate(_TRIES):
        steps = min(most, max(_TRIES[0], _TRIES[-1] // weight))
        if steps == done:
            break
        done = steps
        if account is not None:
            spend(-(-account.prices.tries[number] * steps * weight // most))
        limits = Limits(max_steps=_OWN_STEPS + steps)
        with suppress(ExpressionFailed):
            return search.expression.evaluate({"text": text}, now_ms=0, seed=0, limits=limits) is True
    return False


@dataclass(frozen=True, slots=True)
class _Search:
    """A pattern as an expression that searches the document's `text`."""

    expression: Expression
    looks: Looks

    def weight(self, text: str) -> int:
        """How much longer a look takes than with a simple pattern in a short text."""
        return 1 + self.looks.size + min(self.looks.reach, len(text)) // 8 + len(text) // (16 * 1024)


@lru_cache(maxsize=1024)
def _search_for(pattern: str) -> _Search | None:
    """Searches a text for a pattern; None for one that the engine does not know."""
    if len(pattern) > MAX_PATTERN_LENGTH or _OTHERWISE.search(pattern):
        return None
    try:
        found = _ENGINE.compile(f"$contains(text, /{_as_literal(pattern)}/)" if pattern else "true")
        # Some are found to be wrong only when they are used.
        found.evaluate({"text": "x"}, now_ms=0, seed=0, limits=Limits(max_steps=_OWN_STEPS + _TRIES[1]))
    except (ExpressionInvalid, ExpressionFailed, UnicodeError):  # Half of a surrogate pair is no text.
        return None
    return _Search(found, Looks.of([pattern]))


def _as_literal(pattern: str) -> str:
    """The pattern as it may stand between slashes: the brackets of a class would be counted as the expression's."""
    written, in_class, escaped = [], False, False
    for character in pattern:
        special = "/()[{}" if in_class else "/"
        written.append(f"\\{character}" if character in special and not escaped else character)
        if not escaped:
            in_class = character == "[" or (in_class and character != "]")
        escaped = character == "\\" and not escaped
    return "".join(written) if not in_class else "("  # Unclosed: refused, not something that closes it.
