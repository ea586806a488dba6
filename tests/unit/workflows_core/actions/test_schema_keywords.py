"""A check ends, however long references make a schema; and its sentences are no longer than people read."""

from __future__ import annotations

from typing import Any

import pytest

from workflows_core.actions.answers import answer_check
from workflows_core.actions.json_schemas import compile_schema, schema_problems, value_problems
from workflows_core.actions.patterns import Budget
from workflows_core.errors import Json

DOUBLINGS = 40
TOO_LONG = "is too large for its schema: it would take too long to be checked"


def doubled(keyword: str, **last: Json) -> dict[str, Any]:
    """Forty definitions, each of which leads twice to the next one: a value is held 2^40 times against the last."""
    definitions: dict[str, Any] = {f"d{DOUBLINGS}": last}
    for level in range(DOUBLINGS):
        following = {"$ref": f"#/$defs/d{level + 1}"}
        pair = {"a": following, "b": following} if keyword == "dependentSchemas" else [following, following]
        definitions[f"d{level}"] = {keyword: pair}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


SCHEMAS: dict[str, tuple[dict[str, Any], Json]] = {
    "all of": (doubled("allOf"), 1),
    "any of": (doubled("anyOf", type="string"), 1),
    "one of": (doubled("oneOf", type="string"), 1),
    # The first of two fits, and so the second is looked at for the fields that it names alone.
    "fields of any of": ({"unevaluatedProperties": False, **doubled("anyOf")}, {}),
    "items of any of": ({"unevaluatedItems": False, **doubled("anyOf")}, []),
    "fields of dependent schemas": ({"unevaluatedProperties": False, **doubled("dependentSchemas")}, {"a": 1, "b": 2}),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_that_references_make_long_ends(name: str) -> None:
    schema, value = SCHEMAS[name]
    assert not list(schema_problems(schema))
    if name.endswith("any of") and name != "any of":
        schema = {**schema, "$defs": {**schema["$defs"], f"d{DOUBLINGS}": {}}}
    assert [str(problem) for problem in value_problems(compile_schema(schema), value)] == [
        f"the whole value {TOO_LONG}"
    ]
    assert answer_check(schema)(value) == [f"the whole value {TOO_LONG}"]


def test_a_reference_that_is_followed_has_a_price_of_its_own() -> None:
    schema = {"items": {"$ref": "#/$defs/number"}, "$defs": {"number": {"type": "number"}}}
    validator, value = compile_schema(schema), [1, 2, 3]
    for price, problems in ((0, 0), (10, 0), (40, 1)):
        budget = Budget(100, reading=0, tries=(1, 1, 1), reference=price)
        assert len(value_problems(validator, value, budget)) == problems


@pytest.mark.parametrize("position", ["\u00b2", "9" * 5_000, "1"])
def test_a_reference_to_no_position_of_a_list_leads_nowhere(position: str) -> None:
    schema = {"anyOf": [{"type": "string"}], "properties": {"a": {"$ref": f"#/anyOf/{position}"}}}
    assert ["does not lead anywhere" in message for _, message in schema_problems(schema)] == [True]


def test_a_tree_of_thousands_of_nodes_is_no_long_schema() -> None:
    node = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}
    validator = compile_schema({"$ref": "#/$defs/node", "$defs": {"node": node}})
    tree: Json = {"children": [{"children": [{} for _ in range(20)]} for _ in range(250)]}
    assert value_problems(validator, tree) == []


def test_each_unknown_field_is_told_and_few_of_them_what_was_likely_meant() -> None:
    schema = {"type": "object", "properties": {f"known{n}": {} for n in range(300)}, "additionalProperties": False}
    problems = value_problems(compile_schema(schema), {f"unknown{n}": n for n in range(5_000)})
    assert len(problems) == 5_000
    hinted = [problem.message for problem in problems if "did you mean 'known" in problem.message]
    assert len(hinted) == 5
    assert {problem.message for problem in problems} - set(hinted) == {"is not a known field"}


def test_a_hint_is_short() -> None:
    schema = {"properties": {f"{n:03}{'x' * 300}": {} for n in range(300)}, "additionalProperties": False}
    (problem,) = value_problems(compile_schema(schema), {"y": 1})
    assert problem.message.startswith("is not a known field; known are 000xxx")
    assert problem.message.endswith("... and more")
    assert len(problem.message) < 8_000


@pytest.mark.parametrize("keyword", ["const", "enum"])
def test_what_is_wanted_is_not_written_again_and_again(keyword: str) -> None:
    long = "x" * 100_000
    validator = compile_schema({"items": {keyword: [long] if keyword == "enum" else long}})
    assert [problem.message for problem in value_problems(validator, list(range(5_000)))] == [TOO_LONG]
