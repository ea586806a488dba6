"""What is changed in an authored source before it is compiled, and what never is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows_core.expressions.edits import Edited, edited
from workflows_core.expressions.engine import ExpressionInvalid
from workflows_core.expressions.normalise import normalising_edits
from workflows_core.expressions.tokens import tokenise


def normalise(source: str) -> Edited:
    return edited(source, normalising_edits(tokenise(source)))


@pytest.mark.parametrize(
    ("authored", "compiled"),
    [
        ("a == b", "a = b"),
        ("a==b", "a=b"),
        ("a = b", "a = b"),
        ("a !== b", "a != b"),
        ("a === b", "a == b"),
        ("a >= b", "a >= b"),
        ("x == 'a==b'", "x = 'a==b'"),
        ('x == "a\\"==b"', 'x = "a\\"==b"'),
        ("'a\\'==' == x", "'a\\'==' = x"),
        ("`a==b` == 1", "`a==b` = 1"),
        ("/* a==b */ a == b", "/* a==b */ a = b"),
        ("$contains(a, /x==y/i) == true", "$contains(a, /x==y/i) = true"),
        ("$contains(a, /[/]==/)", "$contains(a, /[/]==/)"),
        ("a / b == c / d", "a / b = c / d"),
        ("(a) / b == c", "(a) / b = c"),
        ("a.* / 2 == 1 / x", "a.* / 2 = 1 / x"),
        ("len(a)", "$len(a)"),
        ("$len(a)", "$len(a)"),
        ("len (a)", "$len (a)"),
        ("len", "len"),
        ("payload.append", "payload.append"),
        ("'len(a)'", "'len(a)'"),
        ("nowIso()", "$now()"),
        ("$nowIso()", "$now()"),
        ("a and (b) or (c) in (d)", "a and (b) or (c) in (d)"),
        ("and == 1", "and = 1"),
        ("function($a) { toString($a) }", "function($a) { $toString($a) }"),
    ],
)
def test_only_code_is_changed(authored: str, compiled: str) -> None:
    assert normalise(authored).text == compiled


STRINGS = st.text(alphabet="abc=='\"`$()/*\\ \nlenowIs", max_size=20)


@given(STRINGS, st.sampled_from("'\""), STRINGS, st.sampled_from("'\""))
def test_string_literals_are_never_changed(left: str, left_quote: str, right: str, right_quote: str) -> None:
    def literal(text: str, quote: str) -> str:
        return quote + text.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote

    first, second = literal(left, left_quote), literal(right, right_quote)
    assert normalise(f"{first}=={second}&len({first})").text == f"{first}={second}&$len({first})"


@given(st.text(alphabet="ab1 =:!.()[]{}/*'\"`$\\,len\n", max_size=30))
def test_tokens_cover_the_source_in_order_without_overlap(source: str) -> None:
    position = 0
    for token in tokenise(source):
        assert token.start >= position
        assert source[token.start : token.end] == token.text
        assert token.text
        position = token.end
    assert position <= len(source)


@given(st.lists(st.sampled_from(["a", "==", "len(", "$nowIso", "'=='", " ", ")"]), max_size=12))
def test_a_position_in_the_compiled_text_leads_back_to_the_authored_one(parts: list[str]) -> None:
    source = "".join(parts)
    try:
        normalised = normalise(source)
    except ExpressionInvalid:
        return
    for token in tokenise(normalised.text):
        if token.text == "a":
            assert source[normalised.authored_position(token.start)] == "a"


@pytest.mark.parametrize(
    ("source", "position", "says"),
    [
        ("1 + $eval('1')", 4, "eval"),
        ("$map(items, $eval)", 12, "eval"),
        ("items ~> $eval", 9, "eval"),
        ("eval('1')", 0, "eval"),
        ("($eval := 1)", 1, "cannot be redefined"),
        ("function($len) { 1 }", 9, "cannot be redefined"),
        ("$clone(a)", 0, "clone"),
        ("uppercase(a)", 0, "called as $uppercase"),
        ("a & $upercase(a)", 4, "did you mean $uppercase"),
        ("$other", 0, "other"),
        ("payload.secret('x')", 8, "secret"),
        ("fetch('http://host')", 0, "fetch"),
        ("$`eval`('1')", 0, "`eval`"),
    ],
)
def test_what_is_not_allowed_is_refused_with_its_position(source: str, position: int, says: str) -> None:
    with pytest.raises(ExpressionInvalid) as refused:
        normalise(source)
    assert refused.value.position == position
    assert says in refused.value.message


@pytest.mark.parametrize(
    "source",
    [
        "($limit := 3; items[price > $limit])",
        "$map(items, function($item, $index) { $item.price * $index })",
        "$filter(items, λ($i) { $i.ok })",
        "items#$position.{'at': $position}",
        "items@$item.$item.name",
        "$$.payload.id",
        "items ~> $map(function($v) { $v }) ~> $sum",
    ],
)
def test_names_defined_in_the_source_are_allowed(source: str) -> None:
    assert normalise(source).text == source
