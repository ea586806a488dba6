"""Suggestions for mistyped names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows_core.definitions.spelling import distance, nearest


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("cal", ["call"], "call"),
        ("cell", ["calls"], None),
        ("state.st", ["state.set"], "state.set"),
        ("transform.asign", ["transform.assign", "action.call"], "transform.assign"),
        ("CONTROL.IF", ["control.if"], "control.if"),
        ("something else", ["control.if"], None),
        ("x", [], None),
        ("x" * 100, ["x" * 101], "x" * 101),
        ("x" * 101, ["x" * 102], None),
    ],
)
def test_a_name_within_its_budget_is_suggested(name: str, known: list[str], meant: str | None) -> None:
    assert nearest(name, known) == meant


@given(st.text(max_size=8), st.text(max_size=8))
def test_distance_is_a_metric_bounded_by_the_longer_text(left: str, right: str) -> None:
    assert distance(left, right) == distance(right, left) <= max(len(left), len(right))
    assert (distance(left, right) == 0) == (left == right)
