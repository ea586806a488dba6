"""Expressions as authors write them: values, limits, refusals, and what JSONata surprises with."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows_core.expressions.engine import NO_VALUE, ExpressionFailed, ExpressionInvalid, Limits
from workflows_core.expressions.functions import BUILT_IN_FUNCTIONS, CUSTOM_FUNCTIONS
from workflows_core.expressions.jlens_engine import MAX_SOURCE_LENGTH, JlensEngine, JlensExpression

NOW_MS = 1_700_000_000_123
DOCUMENT: dict[str, Any] = {
    "payload": {
        "ticket": {"id": 17, "title": "a==b", "none": None},
        "items": [
            {"kind": "a", "price": 2.5, "count": 4},
            {"kind": "b", "price": 1, "count": 1},
            {"kind": "b", "price": 3.0, "count": 2},
        ],
    },
    "vars": {"name": "Ann"},
    "error": None,
}


def evaluate(
    source: str, document: dict[str, Any] | None = None, *, limits: Limits | None = None, seed: int = 1
) -> Any:
    expression = JlensEngine(limits).compile(source)
    return expression.evaluate(DOCUMENT if document is None else document, now_ms=NOW_MS, seed=seed)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("payload.ticket.id", 17),
        ("payload.ticket.title == 'a==b'", True),
        ("payload.ticket.id == 17 and vars.name != 'Bob'", True),
        ("$count(payload.items)", 3),
        ("payload.items[kind='b'].price", [1, 3]),
        ("$sum(payload.items.(price * count))", 17),
        ("$map(payload.items, function($i) { $i.kind })", ["a", "b", "b"]),
        ("$filter(payload.items, function($i) { $i.count > 1 }).kind", ["a", "b"]),
        ("$merge([{'a': 1}, {'b': 2}])", {"a": 1, "b": 2}),
        ("$lookup(payload.ticket, 'id')", 17),
        ("$replace('a-b', '-', '+')", "a+b"),
        ("payload.items ~> |$|{'seen': true}|", [{**item, "seen": True} for item in DOCUMENT["payload"]["items"]]),
        ("vars.missing ? 'x' : 'y'", "y"),
        ("'a' & vars.missing & 'b'", "ab"),
    ],
)
def test_values(source: str, value: Any) -> None:
    assert evaluate(source) == value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("nowIso()", "2023-11-14T22:13:20.123Z"),
        ("$nowIso()", "2023-11-14T22:13:20.123Z"),
        ("$now()", "2023-11-14T22:13:20.123Z"),
        ("$millis()", NOW_MS),
        ("coalesce(vars.missing, error, vars.name, 'x')", "Ann"),
        ("coalesce(false, 1)", False),
        ("coalesce(vars.missing, error)", None),
        ("len('abc')", 3),
        ("len(payload.items)", 3),
        ("len(payload.ticket)", 0),
        ("len(vars.missing)", 0),
        ("toString(1.5)", "1.5"),
        ("toString(2.0)", "2"),
        ("toString(0.000001) & ' ' & toString(0.0000001)", "0.000001 1e-7"),
        ("toString(1e20) & ' ' & toString(1.5e21)", "100000000000000000000 1.5e+21"),
        ("toString(true)", "true"),
        ("toString(error)", ""),
        ("toString(vars.missing)", ""),
        ("toString(payload.items.kind)", "a,b,b"),
        ("toString(vars)", '{"name":"Ann"}'),
        ("append(payload.items.kind, 'c')", ["a", "b", "b", "c"]),
        ("append('a', ['b', 'c'])", ["a", "b", "c"]),
        ("append(vars.missing, 'a')", ["a"]),
        ("append(error, [])", []),
        ("append(['a'], error)", ["a", None]),
        ("vars.name ~> $len", 3),
    ],
)
def test_the_originals_five_functions(source: str, value: Any) -> None:
    assert evaluate(source) == value


@pytest.mark.parametrize("milliseconds", ["000", "010", "999"])
def test_the_runs_time_always_has_three_digits_of_milliseconds(milliseconds: str) -> None:
    now = JlensEngine().compile("nowIso()").evaluate({}, now_ms=1_700_000_000_000 + int(milliseconds), seed=0)
    assert now == f"2023-11-14T22:13:20.{milliseconds}Z"


def test_the_same_seed_gives_the_same_chance() -> None:
    source = "{'random': $random(), 'shuffled': $shuffle([1..20])}"
    assert evaluate(source, seed=5) == evaluate(source, seed=5) != evaluate(source, seed=6)
    assert evaluate(source, seed=2**80 + 5) == evaluate(source, seed=2**80 + 5)
    assert evaluate(source, seed=-5) == evaluate(source, seed=-5)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("payload.ticket.none", None),
        ("payload.ticket.missing", NO_VALUE),
        ("payload.ticket.none.deeper", NO_VALUE),
        ("error", None),
        ("missing", NO_VALUE),
        ("null", None),
        ("payload.items[kind='z']", NO_VALUE),
        ("vars.name = 'Bob' ? 1", NO_VALUE),
        ("payload.ticket.none /* a comment at the end */", None),
        ("($x := payload.ticket.none; $x)", None),
        ("[payload.ticket.none, missing]", [None]),
        ("{'a': payload.ticket.none, 'b': missing}", {"a": None}),
    ],
)
def test_null_and_no_value_are_told_apart(source: str, value: Any) -> None:
    found = evaluate(source)
    assert found == value
    assert (found is NO_VALUE) == (value is NO_VALUE)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        # One match is no list: the length of an object is 0. The idiom is to put the filter into a list.
        ("len(payload.items[kind='a'])", 0),
        ("len([payload.items[kind='a']])", 1),
        ("payload.items[kind='a'].price", 2.5),
        ("payload.items[kind='a'].price[]", [2.5]),
        # Ordering of texts is by character.
        ("'10' < '9'", True),
        # A whole number is an integer, whatever it was computed from.
        ("payload.items[2].price", 3),
        ("7 / 2 * 2", 7),
        # A variable outside the brackets that define it has no value.
        ("($x := 1; $x) & $x", "1"),
        # Numbers are doubles as in JavaScript: ids over 2^53 belong in strings.
        ("9007199254740993", 9007199254740992),
    ],
)
def test_surprises_that_are_documented(source: str, value: Any) -> None:
    found = evaluate(source)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("source", "position", "says"),
    [
        ("", 0, "empty"),
        ("  \n", 0, "empty"),
        ("payload.ticket.", 15, "Unexpected end"),
        ("nowIso() == == 1", 12, "="),
        ("payload.id == 'abc", 14, "matching quote"),
        ("$eval('1')", 0, "eval"),
        ("vars.x & $env('HOME')", 9, "env"),
        ("($f := function($x) { $x }; $y)", 28, "y"),
        ("`$eval`('1')", 0, "not defined"),
    ],
)
def test_what_cannot_be_compiled_is_refused_with_its_position(source: str, position: int, says: str) -> None:
    with pytest.raises(ExpressionInvalid) as refused:
        JlensEngine().compile(source)
    assert refused.value.position == position
    assert says in refused.value.message


@pytest.mark.parametrize("form", ["{'a': x}", "{'a': {'b': [{}, x, 1]}}"])
def test_a_result_may_be_as_deep_as_the_limit_says(form: str) -> None:
    """Of deeper ones the machine decided, by how deep Python may call itself."""
    levels = 200 - form.count("{'") - form.count("[")
    value: Any = json.loads('{"a":' * levels + "1" + "}" * levels)
    assert evaluate(form, {"x": value})
    with pytest.raises(ExpressionFailed, match="200 levels of nesting"):
        evaluate(form, {"x": {"a": value}})


def test_a_source_without_end_is_refused() -> None:
    with pytest.raises(ExpressionInvalid, match="characters"):
        JlensEngine().compile("a" * (MAX_SOURCE_LENGTH + 1))
    with pytest.raises(ExpressionInvalid, match="nested too deeply"):
        JlensEngine().compile("(" * 10_000 + "1" + ")" * 10_000)


@pytest.mark.parametrize(
    ("source", "limit"),
    [
        ("($f := function($n) { $n = 0 ? 0 : $f($n - 1) }; $f(100000))", "10000 steps (max_steps)"),
        ("$match('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab', /(a+)+$/)", "2048 steps (max_steps"),
        ("($f := function($n) { $n = 0 ? 0 : 1 + $f($n - 1) }; $f(1000))", "200 levels of nesting (max_depth)"),
        ("[1..20000]", "10000 items in a list (max_array_length)"),
        ("$pad('a', 300000)", "262144 bytes in a string (max_string_bytes)"),
        ("$map([1..400], function($v) { $pad('a', 700) })", "262144 bytes in the result (max_result_bytes)"),
    ],
)
def test_over_a_limit_the_message_names_expression_limit_and_value(source: str, limit: str) -> None:
    with pytest.raises(ExpressionFailed) as failed:
        evaluate(source)
    assert repr(source) in failed.value.message
    assert f"over the limit of {limit}" in failed.value.message
    assert failed.value.code


def test_limits_are_those_of_the_engine() -> None:
    assert evaluate("$sum([1..20])", limits=Limits(max_array_length=20)) == 210
    with pytest.raises(ExpressionFailed, match="over the limit of 19 items"):
        evaluate("$sum([1..20])", limits=Limits(max_array_length=19))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("payload.ticket.title + 1", "must evaluate to a number"),
        ("$error('no stock')", "no stock"),
        ("$assert(false, 'must hold')", "must hold"),
        ("1 / 0", "Number out of range"),
        ("$sum", "gives a function"),
        ("function($x) { $x }", "gives a function"),
    ],
)
def test_a_failure_names_the_expression(source: str, says: str) -> None:
    with pytest.raises(ExpressionFailed) as failed:
        evaluate(source)
    assert repr(source) in failed.value.message
    assert says in failed.value.message


@given(first=st.integers(-20_000, 20_000), items=st.integers(-3, 20_000))
def test_a_computed_range_is_a_list_or_is_too_long(first: int, items: int) -> None:
    last = first + items - 1
    document = {"first": first, "last": last}
    for source in ("[first..last]", "($n := last; [first..$n])", "[first + 0..last]"):
        if items > 10_000:
            with pytest.raises(ExpressionFailed, match=r"over the limit of 10000 items .* would exceed the size limit"):
                evaluate(source, document)
        elif items > 1:
            assert evaluate(source, document) == list(range(first, last + 1))


def test_a_range_that_no_list_can_hold_is_not_made() -> None:
    """The engine makes ten million items before it counts them: half a second, and a run that does so often stood."""
    code = """
import sys
from resource import RUSAGE_SELF, getrusage
from workflows_core.expressions.engine import ExpressionFailed
from workflows_core.expressions.jlens_engine import JlensEngine

mapped = "$sum($map([1, 2..n - 1], function($x) { $x }))"
sources = ("[1..n]", mapped, "[1..3].[$..$$.n]", "($m := n; {'a': [1..$m]})", "[0..n]")
expressions = [JlensEngine().compile(source) for source in sources]
before = getrusage(RUSAGE_SELF).ru_maxrss
for expression in expressions:
    try:
        expression.evaluate({"n": 10_000_000}, now_ms=0, seed=1)
    except ExpressionFailed as failed:
        print(failed.code)
print(getrusage(RUSAGE_SELF).ru_maxrss - before < (50_000 if sys.platform == "linux" else 50_000_000))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == [*["U1001"] * 4, "D2014", "True"]


def test_what_the_engine_itself_gives_up_is_a_failure_and_it_goes_on() -> None:
    expression = JlensEngine().compile("$formatNumber(1, payload.picture)")
    with pytest.raises(ExpressionFailed, match="formatNumber"):
        expression.evaluate({"payload": {"picture": f"0.{'0' * 70_000}"}}, now_ms=NOW_MS, seed=1)
    assert expression.evaluate({"payload": {"picture": "0.0"}}, now_ms=NOW_MS, seed=1) == "1.0"


def test_a_long_source_is_shortened_in_a_failure() -> None:
    with pytest.raises(ExpressionFailed) as failed:
        evaluate("'a' + 1 & '" + "x" * 5_000 + "'")
    assert len(failed.value.message) < 500


def test_a_document_that_is_not_json_is_a_failure_not_a_crash() -> None:
    with pytest.raises(ExpressionFailed, match="payload"):
        evaluate("payload", {"payload": {1, 2}})


@pytest.mark.parametrize(
    "name", sorted({*CUSTOM_FUNCTIONS, *(n for group in BUILT_IN_FUNCTIONS.values() for n in group)})
)
def test_every_allowed_function_exists(name: str) -> None:
    assert evaluate(f"$type(${name})") == "function"


def test_reads_are_dotted_paths() -> None:
    engine = JlensEngine()
    expression = engine.compile("coalesce(payload.ticket.id, vars.name) == nowIso() & payload.items[kind='a'].price")
    assert expression.reads == {"payload.ticket.id", "vars.name", "payload.items.kind", "payload.items.price"}
    assert expression.source == "coalesce(payload.ticket.id, vars.name) == nowIso() & payload.items[kind='a'].price"
    assert engine.compile("$keys($)").reads == {"*"}
    assert engine.compile("1").reads == frozenset()


def test_a_source_is_compiled_once() -> None:
    engine = JlensEngine()
    assert engine.compile("payload.id") is engine.compile("payload.id")
    assert engine.version.startswith("jlens ")


def test_evaluation_leaves_the_document_alone_and_other_threads_running() -> None:
    document = {"payload": {"items": [{"n": 1}]}}
    expression = JlensEngine().compile("payload.items ~> |$|{'n': n + 1}|")
    results: list[Any] = []

    def run() -> None:
        results.extend(expression.evaluate(document, now_ms=0, seed=0) for _ in range(50))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[{"n": 2}]] * 200
    assert document == {"payload": {"items": [{"n": 1}]}}


KEYS = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "x", "y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)
STEPS = st.sampled_from(
    [".a", ".b", ".c", ".*", "[0]", "[-1]", "[a=1]", "[$exists(b)]", ".{'x': a, 'y': c}", "[]", ".%.a"]
)
PATHS = st.tuples(st.sampled_from(["a", "b", "c", "$", "$$.a", "**.b", "*"]), st.lists(STEPS, max_size=4)).map(
    lambda parts: parts[0] + "".join(parts[1])
)
SOURCES = st.one_of(
    PATHS,
    st.tuples(PATHS, st.sampled_from(["&", "=", "!=", "in", "and", "or"]), PATHS).map(" ".join),
    st.tuples(st.sampled_from(["$count", "$keys", "$string", "len", "$exists", "$type", "$spread"]), PATHS).map(
        lambda parts: f"{parts[0]}({parts[1]})"
    ),
    st.tuples(PATHS, PATHS).map(lambda parts: f"$map({parts[0]}, function($v) {{ [$v.a, {parts[1]}] }})"),
    st.tuples(PATHS, PATHS).map(lambda parts: f"coalesce({parts[0]}, {parts[1]})"),
)


@given(SOURCES, st.dictionaries(KEYS, VALUES, max_size=3))
def test_what_is_not_read_makes_no_difference(source: str, document: dict[str, Any]) -> None:
    try:
        cut_down, uncut = JlensExpression(source, Limits()), JlensExpression(source, Limits())
    except ExpressionInvalid:
        return
    uncut._cutter = None

    def outcome(expression: JlensExpression) -> Any:
        try:
            return expression.evaluate(document, now_ms=0, seed=0)
        except ExpressionFailed as error:
            return error.code

    assert outcome(cut_down) == outcome(uncut)
