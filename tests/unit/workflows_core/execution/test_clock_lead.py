"""The two clocks are compared by what arrives soonest."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows_core.execution.clock_lead import ClockLead

_MS = st.integers(0, 60_000)


@given(st.integers(-3_600_000, 3_600_000), st.lists(_MS, min_size=1, max_size=200))
def test_a_busy_moment_does_not_let_temporals_clock_look_late(ahead_ms: int, ways_here: list[int]) -> None:
    lead = ClockLead()
    told = [lead.seen(datetime.fromtimestamp(time.time() + (ahead_ms - way) / 1000, UTC)) for way in ways_here]
    assert told[-1] == pytest.approx(ahead_ms - min(ways_here[-64:]), abs=100)


@pytest.mark.parametrize("late_seconds", [3600, -3600])
def test_what_was_seen_before_the_clock_was_set_is_forgotten(
    late_seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks for people that were opened behind that were due, and had expired, an hour early."""
    real, late = time.time, late_seconds
    monkeypatch.setattr("workflows_core.execution.clock_lead.time.time", lambda: real() - late)
    lead = ClockLead()
    for _ in range(8):
        assert lead.seen(datetime.fromtimestamp(real(), UTC)) == pytest.approx(late_seconds * 1000, abs=100)
    assert lead.seconds() == pytest.approx(late_seconds, abs=0.1)
    late = 0
    assert lead.seconds() is None
    assert lead.seen(datetime.fromtimestamp(real(), UTC)) == pytest.approx(0, abs=100)
