"""Patterns whose looks go far have few steps over long texts, and keep theirs over short ones."""

from __future__ import annotations

from typing import Any

import pytest

from workflows_core.expressions.engine import ExpressionFailed
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.expressions.looks import Looks


def value(source: str, text: str) -> Any:
    return JlensEngine().compile(source).evaluate({"t": text}, now_ms=0, seed=1)


@pytest.mark.parametrize(
    ("pattern", "length", "steps"),
    [
        # With all of the steps that other patterns have, these take seconds.
        ("a{1000000000}", 64_000, 8),
        ("(?=(a|b)*c)", 16_000, 16),
        ("(a+)\\1c", 4_000, 65),
        ("a{20000}b", 64_000, 26),
        ("|".join(f"a{{{number}}}x" for number in range(2, 400)), 16_000, 41),
        ("(a+)+c", 4_000, 2048),
    ],
)
def test_hole_15_a_look_that_goes_far_takes_from_the_steps(pattern: str, length: int, steps: int) -> None:
    with pytest.raises(ExpressionFailed, match=rf"over the limit of {steps} steps \(max_steps; with a pattern"):
        value(f"$contains(t, /{pattern}/)", "a" * length)


def test_short_texts_keep_their_steps() -> None:
    assert value("$count($map([1..50], function($i) { $contains($$.t, /(?=a*b)a/) }))", "a" * 200 + "b") == 50
    assert value("$contains(t, /^(?=.*\\d)[a-z0-9]+$/)", "abc1" * 5_000) is True
    assert value("$contains(t, /^.{200,300}$/)", "y" * 250) is True


@pytest.mark.parametrize(
    ("patterns", "looks"),
    [
        ([], Looks(0, 0)),
        (["^[a-z]+$"], Looks(0, 0)),
        (["a{3,700}", "b{20}"], Looks(0, 20)),
        (["(?=a)"], Looks(0, 2**63 - 1)),
        (["(?<!a)b"], Looks(0, 2**63 - 1)),
        (["(a)\\1"], Looks(0, 2**63 - 1)),
        (["x" * 128, "(a?b*c+d{2}){3}" * 2], Looks(2, 3)),
    ],
)
def test_the_dearest_of_the_patterns_counts(patterns: list[str], looks: Looks) -> None:
    assert Looks.of(patterns) == looks
