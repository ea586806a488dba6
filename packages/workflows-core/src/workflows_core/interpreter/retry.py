"""Whether a failed step is tried again, and when: one function for the run and for its simulation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import inf

from workflows_core.errors import UNCATCHABLE

LONGEST_DELAY_MS = 365 * 86_400_000
"""A year bounds what an exponent can do to a timer."""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """An authored retry policy, checked. Times in milliseconds; `retry_on` empty means every category."""

    max_attempts: int
    backoff_ms: int
    multiplier: float = 2.0
    jitter: bool = True
    max_delay_ms: int | None = None
    retry_on: frozenset[str] = frozenset()


def retry_decision(rule: RetryRule | None, category: str, attempt: int, seed: str) -> int | None:
    """Milliseconds until the next attempt, or None when there is none.

    Args:
        rule: The step's policy.
        category: Category of the failure.
        attempt: The attempt that failed, from 1.
        seed: Decides the jitter; the same seed gives the same delay on every machine.
    """
    if rule is None or attempt >= rule.max_attempts or category in UNCATCHABLE:
        return None
    if rule.retry_on and category not in rule.retry_on:
        return None
    delay = _backoff(rule, attempt)
    if rule.jitter:
        digest = hashlib.sha256(f"{seed}:{attempt}".encode()).digest()
        delay *= 0.8 + 0.4 * int.from_bytes(digest[:8], "big") / 2**64
    if rule.max_delay_ms is not None:
        delay = min(delay, rule.max_delay_ms)
    return int(min(delay, LONGEST_DELAY_MS))


def _backoff(rule: RetryRule, attempt: int) -> float:
    try:
        return rule.backoff_ms * float(rule.multiplier) ** min(attempt - 1, 64)
    except OverflowError:
        # Beyond what a float holds: as long as may be.
        return inf if rule.backoff_ms else 0
