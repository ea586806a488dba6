"""Answers to human tasks: what fits, and that no schema and no answer takes long to be checked. All by counts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from workflows_core.actions import answers, keywords
from workflows_core.actions.answers import MAX_CHECKS, answer_check, answer_schema_problems
from workflows_core.actions.json_schemas import compile_schema, value_problems
from workflows_core.expressions.identity import identity

LIST = {"type": "object", "properties": {"list": {"type": "array", "uniqueItems": True}}}


def note(pattern: str) -> dict[str, Any]:
    return {"type": "object", "properties": {"note": {"type": "string", "pattern": pattern}}}


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("^[A-Z]{3}$", "EUR", "EURO"),
        ("^[^@]+@[^@]+\\.[a-z]+$", "ann@example.org", "ann"),
        ("a/b", "xa/by", "ab"),
        ("^[(){}/\\]]+$", "(/)]", "x"),
        ("^\\d{2}(:\\d{2})?$", "10:30", "10:3"),
        ("b", "abc", "ac"),
        ("", "", "(nothing)"),
    ],
)
def test_a_pattern_is_searched_for(pattern: str, fits: str, does_not: str) -> None:
    assert not list(answer_schema_problems(note(pattern)))
    check = answer_check(note(pattern))
    assert check({"note": fits}) == []
    if pattern:
        assert check({"note": does_not}) == [f"/note must match the pattern {pattern}"]


@pytest.mark.parametrize("pattern", ["^(\\w+\\s?)*$", "^(a|a)*$", "(a+)+$"])
def test_a_pattern_that_tries_too_much_does_not_fit(pattern: str) -> None:
    # The standard library's patterns take twice as long for each further character: this test would not end.
    assert answer_check(note(pattern))({"note": "a" * 60 + "!"}) == [f"/note must match the pattern {pattern}"]


def test_many_such_texts_end_the_check() -> None:
    listed = {"type": "array", "items": {"pattern": "^(\\w+\\s?)*$"}}
    assert answer_check(listed)(["a" * 30 + "!"] * 6) == [
        "the whole value is too large for its schema: it would take too long to be checked"
    ]
    assert answer_check(listed)(["some words here"] * 500) == []


@pytest.mark.parametrize("pattern", ["a)//(b", "[", "(", "x/i) or (1"])
def test_a_pattern_that_expressions_do_not_know_is_a_problem(pattern: str) -> None:
    assert [pointer for pointer, _ in answer_schema_problems(note(pattern))] == ["/properties/note/pattern"]


def test_patterns_of_field_names_are_a_problem_and_a_field_of_that_name_is_none() -> None:
    named_by_patterns = {"patternProperties": {"(?i)a": {}}, "unevaluatedProperties": False}
    assert list(answer_schema_problems({"prefixItems": [named_by_patterns, {"type": "objekt"}]}))[:1] == [
        ("/prefixItems/0/patternProperties", "is not possible in answers: name each field under properties")
    ]
    # What comes of it is not said again, and what does not is.
    assert [one for one, _ in answer_schema_problems({**named_by_patterns, "pattern": "("})] == [
        "/patternProperties",
        "/pattern",
    ]
    named = {"properties": {"pattern": {"type": "string"}, "patternProperties": {"type": "object"}}}
    assert not list(answer_schema_problems(named))
    assert answer_check(named)({"patternProperties": 1}) == ["/patternProperties must be an object, found a number"]
    before = {"patternProperties": {"^(a+)+$": {"type": "string"}}, "additionalProperties": False, "required": ["x"]}
    assert len(answer_check(before)({"a" * 60 + "!": 1})) == 1
    assert answer_check({"patternProperties": {"^a": {"type": "string"}}})({"a": 1}) == []


def test_a_definition_of_before_may_have_a_pattern_that_expressions_do_not_know() -> None:
    # Nobody could answer such a task otherwise.
    assert answer_check({"properties": {"pattern": {"pattern": "(?i)a", "type": "string"}}})({"pattern": "b"}) == []
    listed = {"items": {"pattern": "(?i)a"}}
    assert answer_check(listed)(["b"] * 800) == []
    assert len(answer_check(listed)(["b"] * 1_000)) == 1


def test_no_pattern_is_read_before_there_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    # Runs make their checks in a workflow task, of as many patterns as the definition has.
    read: list[str] = []
    monkeypatch.setattr(answers, "pattern_problem", read.append)
    check = answer_check(note("^[a-z]+$"))
    assert read == []
    assert check({"note": "a"}) == []
    assert read == ["^[a-z]+$"]


VALUES = st.sampled_from([0, 1, 1.0, True, False, None, "1", [1], [2, 1], {"a": 1, "b": 2}, {"b": 2, "a": 1}])


@given(st.lists(VALUES, max_size=4))
def test_items_are_the_same_where_the_librarys_are(items: list[Any]) -> None:
    fits = Draft202012Validator(LIST).is_valid({"list": items})
    assert (answer_check(LIST)({"list": items}) == []) == fits
    assert (value_problems(compile_schema(LIST), {"list": items}) == []) == fits


def test_each_item_of_a_list_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[Any] = []

    def counted(item: Any) -> Any:
        looked_at.append(item)
        return identity(item)

    monkeypatch.setattr(keywords, "identity", counted)
    assert answer_check(LIST)({"list": [{"id": i} for i in range(2000)]}) == []
    assert len(looked_at) == 2000
    # So it is for the schemas of payloads and actions.
    assert value_problems(compile_schema(LIST), {"list": [{"id": i} for i in range(2000)]}) == []
    assert len(looked_at) == 4000


def test_a_large_answer_and_a_long_check_do_not_fit() -> None:
    assert answer_check(LIST)({"list": ["x" * 70_000]}) == [
        "the whole value has 70014 bytes of JSON, at most 65536 are allowed"
    ]
    each = {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}]}}
    assert answer_check(each)([1] * 1000) == []
    assert answer_check(each)([1] * 10_000) == [
        "the whole value is too large for its schema: it would take too long to be checked"
    ]
    doubling: dict[str, Any] = {"$defs": {f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(40)}}
    doubling["$defs"]["a40"] = {"type": "string"}
    assert len(answer_check({**doubling, "$ref": "#/$defs/a0"})(1)) == 1
    assert MAX_CHECKS == 10_000


def test_a_check_begins_anew_with_each_answer() -> None:
    check = answer_check({"type": "array", "items": {"type": "integer"}})
    assert [check([1] * 3000) for _ in range(4)] == [[], [], [], []]
