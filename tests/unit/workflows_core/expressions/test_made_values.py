"""No expression makes a value too large to look at, and none gives another value because it is measured."""

from __future__ import annotations

from typing import Any

import jlens
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workflows_core.expressions.edits import edited
from workflows_core.expressions.engine import ExpressionFailed
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.expressions.made_values import measuring_edits
from workflows_core.expressions.normalise import normalising_edits
from workflows_core.expressions.tokens import tokenise

DOCUMENT = {
    "n": 3,
    "t": "text",
    "none": None,
    "o": {"a": 1, "b": [1, 2]},
    "l": [{"k": "x", "v": 1}, {"k": "y", "v": 2}],
}
DOUBLING = {
    "recursion": "$f := function($n, $x) { $n = 0 ? $x : $f($n - 1, {'a': $x, 'b': $x}) }; $v := $f(40, 1)",
    "recursion over lists": "$f := function($n, $x) { $n = 0 ? $x : $f($n - 1, [[$x], [$x]]) }; $v := $f(40, 1)",
    "reduce": "$v := $reduce([1..40], function($x, $i) { {'a': $x, 'b': $x} }, 1)",
    "map": "$v := $reduce([1..40], function($x, $i) { $map([1, 2], function() { $x }) }, [1])",
    "each": "$v := $reduce([1..40], function($x, $i) { $each({'a': 1, 'b': 2}, function() { $x }) }, [1])",
    "zip": "$v := $reduce([1..40], function($x, $i) { $zip($x, $x) }, [1, 2])",
    "groups": "$v := $reduce([1..40], function($x, $i) { ['a', 'b']{$: $x} }, 1)",
    "few and wide": "$v := $reduce([1..6], function($x, $i) { [1..60].{'a': $x} }, 1)",
    "no name": "$v := (function($g) { $g($g, 40, 1) })(function($g, $n, $x) { $n > 0 ? $g($g, $n - 1, [[$x, $x]]) : $x })",  # noqa: E501
    "written out": "$v := 1" + "; $v := {'a': $v, 'b': $v}" * 40,
    "the item at hand": "$v := o" + ".{'a': $, 'b': $}" * 40,
}
USES = ["$v = $v", "$v ? 1 : 2", "$v + 1", "$v"]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("doubling", DOUBLING.values(), ids=DOUBLING)
def test_hole_15_a_value_that_doubles_forty_times_is_a_failure_and_hangs_nothing(doubling: str, use: str) -> None:
    with pytest.raises(ExpressionFailed, match="went over the limit of"):
        JlensEngine().compile(f"({doubling}; {use})").evaluate(DOCUMENT, now_ms=0, seed=1)


WITHOUT_A_NAME = {
    "map": "$reduce([1..40], function($x, $i) { $map([1, 2], function() { $x }) }, [1, 2])",
    "each": "$reduce([1..40], function($x, $i) { $each({'a': 1, 'b': 2}, function() { $x }) }, [1, 2])",
    "zip": "$reduce([1..40], function($x, $i) { $zip($x, $x) }, [1, 2])",
    "lists": "o" + ".[[$], [$]]" * 40,
    "groups": "o" + ".(l{k: $$})" + ".{'a': $, 'b': $}" * 40,
    "in conditions": "o" + ".{'a': 1 = 1 ? $ : 1, 'b': 1 = 1 ? $ : 1}" * 40,
    "names with a default": "o" + ".{missing ?? 'a': $, missing ?? 'b': $}" * 40,
}


@pytest.mark.parametrize("doubling", WITHOUT_A_NAME.values(), ids=WITHOUT_A_NAME)
def test_what_is_used_before_it_has_a_name_is_measured_too(doubling: str) -> None:
    with pytest.raises(ExpressionFailed, match="went over the limit of"):
        JlensEngine().compile(f"{doubling} + 1").evaluate(DOCUMENT, now_ms=0, seed=1)


def test_the_message_says_what_is_too_large() -> None:
    with pytest.raises(ExpressionFailed) as failure:
        JlensEngine().compile(f"({DOUBLING['recursion']}; $v = $v)").evaluate(DOCUMENT, now_ms=0, seed=1)
    assert failure.value.message.endswith(
        "262144 bytes in the result (max_result_bytes): a value that it makes, names or gives to a function is longer"
    )


def test_what_is_read_may_be_longer_than_a_result_and_get_a_name() -> None:
    source = "($p := lines; $f := function($x) { {'a': $x[0], 'b': $count($x)} }; $f($p))"
    lines = ["x" * 1000] * 300
    value = JlensEngine().compile(source).evaluate({"lines": lines}, now_ms=0, seed=1)
    assert value == {"a": "x" * 1000, "b": 300}


def test_but_it_is_no_result() -> None:
    source = "($p := lines; $f := function($x) { [$x] }; $f($p))"
    with pytest.raises(ExpressionFailed, match="262144 bytes in the result"):
        JlensEngine().compile(source).evaluate({"lines": ["x" * 1000] * 300}, now_ms=0, seed=1)


def test_a_result_up_to_the_limit_is_made_in_one_expression_that_repeats() -> None:
    source = "($f := function($l) { {'text': $l & $l} }; $map(lines, $f))"
    value = JlensEngine().compile(source).evaluate({"lines": ["x" * 2000] * 40}, now_ms=0, seed=1)
    assert value == [{"text": "x" * 4000}] * 40


def test_a_function_that_calls_itself_last_may_still_do_so_often() -> None:
    source = "($f := function($n, $m) { $n = 0 ? $m : $f($n - 1, {'n': $n}) }; $f(500, {}))"
    assert JlensEngine().compile(source).evaluate({}, now_ms=0, seed=1) == {"n": 1}


LEAVES = [
    "1",
    "'s'",
    "null",
    "true",
    "n",
    "t",
    "none",
    "o",
    "o.b",
    "l",
    "l.v",
    "missing",
    "$",
    "$v",
    "$w",
    "[1..3]",
    "[]",
    "{}",
]
NODES = [
    "[{0}, {1}]",
    "[[{0}], {1}]",
    "{{'a': {0}, 'b': {1}}}",
    "{{n > 2 ? 'a' : 'b': {0}, 'c': {1} ? {2} : null}}",
    "({0}).{{'x': $, 'y': {1}}}",
    "({0}).[$, {1}]",
    "l{{k: {0}}}",
    "l{{k: v, 'all': [{0}, {1}]}}",
    "($w := {0}; [$w, {1}])",
    "($v := $w := {0}; {{'v': $v, 'w': $w}})",
    "{{'a': $q := {0}, 'b': $q}}",
    "[$q := {0}, $q]",
    "$map([{0}, {1}], function($v, $i) {{ [$v, $i] }})",
    "$map(l, function($v) {{ {0} }})",
    "$reduce([1, 2, 3], function($v, $w) {{ {{'v': $v, 'w': {0}}} }}, {1})",
    "$each(o, function($v, $w) {{ {{'n': $w, 'v': $v, 'e': {0}}} }})",
    "$zip([{0}], [{1}])",
    "(function($v) {{ [{0}, $v] }})({1})",
    "(function($v)<x:x> {{ [{0}, $v] }})({1})",
    "(λ() {{ {0} }})()",
    "($f := function($a, $b) {{ [$a, $b] }}; $g := $f(?, {0}); $g({1}))",
    "({0}) ~> (function($v) {{ {{'v': $v}} }})",
    "n = 3 ? {0} : {1}",
    "n = 3 ? n = 2 ? {0} : {1} : {2}",
    "[{0} ?? {1}, {0} ?: {1}]",
    "[n..5, {0}]",
    "($f := function($k) {{ $k = 0 ? [{0}] : $f($k - 1) }}; $f(3))",
    "l^(>v).{{'k': k, 'e': {0}}}",
    "l[v > 1].[{0}]",
    "(o ~> |$|{{'c': {0}}}|)",
    "l.{{'p': %.n, 'e': {0}}}",
    "l@$w.{{'k': $w.k, 'e': {0}}}",
    "$type([{0}])",
    "[{0}] = [{1}]",
    "$string([{0}]) & 'x'",
    "$append([{0}], {1})",
]
SOURCES = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.builds(lambda node, *parts: node.format(*parts), st.sampled_from(NODES), inner, inner, inner),
    max_leaves=6,
)


def _plain(source: str) -> Any:
    tokens = tokenise(source)
    return _value(edited(source, normalising_edits(tokens)).text)


def _measured(source: str) -> Any:
    tokens = tokenise(source)
    return _value(edited(source, [*normalising_edits(tokens), *measuring_edits(tokens)]).text)


def _value(text: str) -> Any:
    expression = jlens.Expression(text)
    expression.register_function("_made", lambda *_: True)
    expression.register_function("append", lambda items, value: [items, value])
    try:
        return expression.evaluate(DOCUMENT, now=0, seed=1, max_steps=10**6)
    except jlens.JlensError as error:
        return error.code


@given(SOURCES)
@example("(l; $v := n; {'a': $v})")
def test_measuring_changes_no_value(inner: str) -> None:
    source = f"($v := 1; $w := 2; {inner})"
    assert _measured(source) == _plain(source)


@pytest.mark.parametrize(
    "source",
    [
        "a.b",
        "$f(a)",
        "l[v > 1]",
        "(1; 2)",
        "'{['",
        "`[`",
        "$sum(l.v)",
        "{'a': a}",
        "[1..3].x",
        "$map(l, function($i) { $i.v * $$.n })",
        "($f := function($n) { $n = 0 ? 0 : $f($n - 1) }; $f(500))",
    ],
)
def test_nothing_is_measured_where_nothing_can_grow(source: str) -> None:
    assert not measuring_edits(tokenise(source))
