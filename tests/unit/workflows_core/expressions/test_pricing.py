"""What expressions may cost: by counts of steps and bytes, never by a clock."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

import jlens
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.interpreted import Run, document
from workflows_core.definitions.parse import parse_definition
from workflows_core.expressions import functions
from workflows_core.expressions.engine import ExpressionFailed, ExpressionInvalid, Limits
from workflows_core.expressions.identity import identity
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.expressions.pricing import price_of
from workflows_core.expressions.tokens import tokenise
from workflows_core.interpreter.compile import compile_plan
from workflows_core.interpreter.messages import Begin
from workflows_core.interpreter.step import initial_state, step

OWN = [
    "'Dear ' & payload.name",
    "payload.items[kind = 'a'].price",
    "payload.lines.{'id': id, 'text': sku & ' x ' & $string(count)}",
    "$map(payload.lines, function($l) { {'id': $l.id, 'text': $l.sku & $uppercase($l.name)} })",
    "$filter(payload.lines, function($l) { $l.kind = 'a' and $contains($l.name, 'y') })",
    "$join(payload.lines.(sku & name), ', ')",
    "($total := $sum(payload.lines.price); $total & ' EUR')",
    "payload.lines^(price).sku",
    "payload.lines{kind: $sum(price)}",
    "$count($distinct(payload.lines.sku))",
]
AGAIN = [
    "[1..9].$string($$.payload)",
    "$map(payload.lines, function($l) { $l.sku & payload.text })",
    "$map(payload.lines, function($l) { $l & `payload`.text })",
    "$map(payload.lines, function($l, $i, $all) { $string($all) })",
    "$map(payload.lines, function($l) { $map(payload.lines, function($m) { $l & $m }) })",
    "$map(payload.lines, function($l) { $string($) })",
    "$map(payload.lines, $string)",
    "payload.lines.$string(%)",
    "payload.lines.$pad('', 200000)",
    "payload.lines.$replace(sku, 'x', name)",
    "payload.lines.([1..9999])",
    "payload.lines.**.$string($)",
    "payload.[$, $].[$, $].$string($)",
    "payload.{'a': $, 'b': $}.*.$string($)",
    "($all := payload.lines; [1..9].$string($all))",
    "($f := function($x) { $string($x) }; $f(payload.lines))",
    "$reduce(payload.lines, function($a, $b) { $a & $b })",
    "$map($map(payload.lines, function($x) { [$x, $x] }), function($x) { [$x, $x] })",
    "payload.lines@$v.payload.lines@$w.$string($v)",
    "payload.lines ~> $string",
]


@pytest.mark.parametrize(("source", "repeats"), [*((one, False) for one in OWN), *((one, True) for one in AGAIN)])
def test_an_expression_repeats_where_a_step_may_touch_the_same_data_again(source: str, repeats: bool) -> None:
    JlensEngine().compile(source)
    assert price_of(tokenise(source)).repeats == repeats


LINES = [
    {"id": i, "sku": f"sku-{i}", "name": "a name", "count": 2, "price": 1.5, "kind": "ab"[i % 2]} for i in range(500)
]
MANY: dict[str, Any] = {
    "payload": {
        "name": "Ann",
        "lines": LINES,
        "texts": [f"customer-{i:05}" for i in range(9_900)],
        "fields": {f"field{i}": i for i in range(9_000)},
        "text": "ab " * 80_000,
    }
}


def worked(source: str, data: Mapping[str, Any] = MANY) -> list[int]:
    """The work of each attempt; with a failure at the end, -1."""
    attempts: list[int] = []
    try:
        limits = Limits(meter=lambda _, work: attempts.append(work))
        JlensEngine().compile(source).evaluate(data, now_ms=0, seed=0, limits=limits)
    except ExpressionFailed as failed:
        attempts.append(-1 if "over the limit of" in failed.message else -2)
    return attempts


@pytest.mark.parametrize("source", [one for one in OWN if "items" not in one])
def test_what_gives_each_item_its_own_work_has_all_steps_over_much_data(source: str) -> None:
    assert len(worked(source)) == 1
    assert worked(source)[-1] >= 0


@pytest.mark.parametrize(
    "one",
    [
        *(
            "$length($string($$.payload.lines))",
            "$length(toString($$.payload.lines))",
            "$count($sort($$.payload.texts))",
        ),
        *("$count($distinct($$.payload.texts))", "$length($substring($$.payload.text, 5))", "len($$.payload.texts)"),
        *("$length($pad('', 200000))", "$count(append($$.payload.texts, 1))", "$length($$.payload.lines & 'x')"),
        *("$count($zip($$.payload.texts, $$.payload.texts))", "$length($replace($$.payload.text, 'ab', 'c'))"),
        *("$length($decodeUrlComponent($$.payload.text))", "$count($shuffle($$.payload.texts))"),
    ],
)
def test_no_step_goes_over_much_data_for_ever(one: str) -> None:
    attempts = worked(f"$count([1..1000].({one}))")
    assert attempts[-1] == -1
    assert max(attempts) <= Limits().max_work
    assert sum(attempts[:-1]) <= 3 * Limits().max_work, "what is tried before is less and less"


def test_small_data_keeps_all_steps_and_one_long_value_takes_from_the_steps() -> None:
    small = {"payload": {"items": list(range(100)), "factor": 3}}
    source = (
        "($f := function($n) { $n = 0 ? 0 : $f($n - 1) }; $f(500); $map([1..200], function($i) { $string($i) & 'x' }))"
    )
    assert worked("$sum($map(payload.items, function($i) { $i * $$.payload.factor }))", small) == [65_536, 262_144]
    assert worked(source, small)[-1] > 0
    assert worked("$length($pad('a', 250000))", small)[-1] > 0


def test_the_message_says_which_limit_and_why() -> None:
    with pytest.raises(ExpressionFailed, match=r"steps \(max_steps; the more data is read again and again, the lower"):
        JlensEngine().compile("[1..1000].$string($$.payload.lines)").evaluate(MANY, now_ms=0, seed=0)


ITEMS = st.sampled_from([0, 1, 1.0, True, False, None, "1", "", [1], [True], [1.0], {"a": 1, "b": 2}, {"b": 2, "a": 1}])


@given(
    st.lists(ITEMS, max_size=6),
    st.sampled_from(["$distinct(a)", "a ~> $distinct", "$distinct([a])", "$distinct(a)[0]"]),
)
def test_distinct_is_what_the_engine_gives_however_many_items(items: list[Any], source: str) -> None:
    for many in (items, items * 20):
        found = JlensEngine().compile(source).evaluate({"a": many}, now_ms=0, seed=0)
        expected = jlens.Expression(source).evaluate({"a": many})
        assert repr(found or None) == repr(expected or None) or found == expected


@pytest.mark.parametrize(
    "source", ["$keys(a)", "$keys(b)", "a.$keys()", "b ~> $keys", "$map(b, $keys)", "$keys(a.none)"]
)
@pytest.mark.parametrize("count", [0, 1, 3, 200])
def test_keys_are_what_the_engine_gives_however_many_fields(source: str, count: int) -> None:
    data = {"a": {f"k{i}": i for i in range(count)}, "b": [{f"k{i % 150}": i} for i in range(count)]}
    found = JlensEngine().compile(source).evaluate(data, now_ms=0, seed=0)
    assert (found or None) == jlens.Expression(source).evaluate(data)


def test_distinct_and_keys_do_not_compare_each_item_with_each(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[Any] = []

    def counted(item: Any) -> Any:
        looked_at.append(item)
        return identity(item)

    monkeypatch.setattr(functions, "identity", counted)
    source = JlensEngine().compile("$count($distinct(payload.texts)) + $count($keys(payload.fields))")
    assert source.evaluate(MANY, now_ms=0, seed=0) == 18_900
    assert len(looked_at) == 9_900
    assert source.reads == {"payload.texts", "payload.fields"}


def turns_of(source: str, payload: dict[str, Any], steps: int) -> int:
    one = {"type": "transform.assign", "config": {"assign": {"vars.x": {"$expr": source}}}}
    plan = compile_plan(parse_definition(document(*[one] * steps)), JlensEngine())
    state = initial_state(plan, Run().state.identity, payload=payload, meta={}, started_at=0)
    turns = 0
    while state.outcome is None:
        state, _ = step(plan, state, Begin(turns), max_effort=64)
        turns += 1
    return turns


def test_a_task_of_several_steps_over_much_data_stops_between_them() -> None:
    rows = {"rows": [{"customer": text} for text in MANY["payload"]["texts"]]}
    assert turns_of("$count($distinct(payload.rows.customer))", rows, 16) > 3
    assert turns_of("$count($distinct(payload.rows.customer))", {"rows": rows["rows"][:50]}, 16) == 1
    assert turns_of("$count(payload.rows.customer)", rows, 60) > turns_of("payload.id", {"id": 1}, 60)


@pytest.mark.parametrize("bracket", ["len(", '{"a":', "(", "$map(a, function($x){"])
def test_a_deep_source_takes_no_more_for_each_of_its_levels(bracket: str) -> None:
    assert calls_to_refuse(bracket * 1_400) < 3 * calls_to_refuse(bracket * 700)


def calls_to_refuse(source: str) -> int:
    """Calls of Python functions until the source is refused."""
    found = 0

    def count(_frame: FrameType, event: str, _about: object) -> None:
        nonlocal found
        found += event == "call"

    sys.setprofile(count)
    try:
        with pytest.raises(ExpressionInvalid):
            JlensEngine().compile(source)
    finally:
        sys.setprofile(None)
    return found
