"""When a failed step is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows_core.errors import UNCATCHABLE
from workflows_core.interpreter.retry import RetryRule, retry_decision


def test_delays_grow_up_to_the_cap_and_attempts_end() -> None:
    rule = RetryRule(max_attempts=4, backoff_ms=100, multiplier=3, jitter=False, max_delay_ms=500)
    assert [retry_decision(rule, "ActionError", n, "s") for n in (1, 2, 3, 4)] == [
        100,
        300,
        500,
        None,
    ]
    assert retry_decision(None, "ActionError", 1, "s") is None


def test_only_the_named_categories_are_retried() -> None:
    rule = RetryRule(max_attempts=3, backoff_ms=1, retry_on=frozenset({"TransientError"}))
    assert retry_decision(rule, "TransientError", 1, "s") is not None
    assert retry_decision(rule, "ActionError", 1, "s") is None


def test_what_nobody_may_catch_is_not_retried() -> None:
    rule = RetryRule(max_attempts=3, backoff_ms=1)
    assert [retry_decision(rule, category, 1, "s") for category in UNCATCHABLE] == [None] * len(UNCATCHABLE)


@given(st.integers(1, 20), st.integers(0, 10_000), st.text(max_size=10))
def test_hole_16_jitter_is_within_a_fifth_and_the_same_everywhere(attempt: int, backoff: int, seed: str) -> None:
    rule = RetryRule(max_attempts=100, backoff_ms=backoff, multiplier=1)
    delay = retry_decision(rule, "ActionError", attempt, seed)
    assert delay is not None
    assert int(backoff * 0.8) <= delay <= backoff * 1.2
    assert delay == retry_decision(rule, "ActionError", attempt, seed)


def test_a_huge_exponent_is_bounded() -> None:
    rule = RetryRule(max_attempts=10_000, backoff_ms=1000, multiplier=10)
    assert retry_decision(rule, "ActionError", 9_000, "s") == 365 * 86_400_000


@pytest.mark.parametrize(("backoff", "most", "delay"), [(1000, None, 365 * 86_400_000), (1000, 10, 10), (0, None, 0)])
def test_a_multiplier_beyond_what_a_number_holds_gives_the_longest_delay(
    backoff: int, most: int | None, delay: int
) -> None:
    rule = RetryRule(max_attempts=80, backoff_ms=backoff, multiplier=1e6, max_delay_ms=most)
    assert retry_decision(rule, "ActionError", 79, "s") == delay
