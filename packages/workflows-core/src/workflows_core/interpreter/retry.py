"""Whether a failed step is tried again, and when: one function for the run and for its simulation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from workflows_core.errors import UNCATCHABLE


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
    delay = rule.backoff_ms * rule.multiplier ** min(attempt - 1, 64)
    if rule.jitter:
        digest = hashlib.sha256(f"{seed}:{attempt}".encode()).digest()
        delay *= 0.8 + 0.4 * int.from_bytes(digest[:8], "big") / 2**64
    if rule.max_delay_ms is not None:
        delay = min(delay, rule.max_delay_ms)
    # A year bounds what an exponent can do to a timer.
    return int(min(delay, 365 * 86_400_000))
