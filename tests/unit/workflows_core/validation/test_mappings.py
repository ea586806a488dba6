"""What publishing says of the input that a step gives its action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from harness.published import (
    EXPR,
    Actions,
    assign,
    call,
    found,
    seen,
)


def test_required_fields_must_be_mapped_also_in_nested_object_literals() -> None:
    problems = found(
        call(
            "contact.create",
            inputMapping={"nane": "Ann", "address": {"street": EXPR}, "second": {}, "third": EXPR},
        )
    )
    assert seen(problems) == [
        ("MISSING_REQUIRED_MAPPING", "root.steps[0].config.inputMapping.name"),
        ("MISSING_REQUIRED_MAPPING", "root.steps[0].config.inputMapping.address.city"),
        ("MISSING_REQUIRED_MAPPING", "root.steps[0].config.inputMapping.second.city"),
    ]
    assert problems[0].suggestion == "nane"


@pytest.mark.parametrize(
    ("mapping", "where", "said"),
    [
        ({"count": "many"}, "count", "a whole number, found a text"),
        ({"count": {"$secret": "A"}}, "count", "a secret is a text"),
        ({"count": {"a": 1}}, "count", "a whole number, found an object"),
        ({"tags": ["a", 1]}, "tags[1]", "a text, found a number"),
        ({"inner": {"on": "yes"}}, "inner.on", "true or false, found a text"),
        ({"kind": "c"}, "kind", "one of"),
        ({"texts": {"a": EXPR, "b": 1}}, "texts.b", "a text, found a number"),
        ({"either": {"c": 1}}, "either.a", "required"),
    ],
)
def test_a_literal_that_the_action_refuses_is_an_error(mapping: Any, where: str, said: str) -> None:
    (problem,) = found(call("typed", inputMapping=mapping))
    assert seen([problem]) == [("MAPPING_TYPE_INCOMPATIBLE", f"root.steps[0].config.inputMapping.{where}")]
    assert said in problem.message


def test_what_an_expression_or_an_allowed_literal_gives_is_no_error() -> None:
    mapping = {"count": EXPR, "tags": [EXPR, 1], "inner": {"on": EXPR}, "kind": "a", "free": {"x": [1]}}
    assert found(call("typed", inputMapping=mapping)) == []
    assert found(call("typed", inputMapping={"count": 3, "tags": ["a"], "inner": {"on": True}})) == []


TREE: Mapping[str, Any] = {
    "$id": "urn:tree",
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "child": {"$ref": "#"},
        "children": {"type": "array", "items": {"$ref": "#"}},
        "others": {"type": "array", "items": {"$ref": "#/properties/name"}},
        "more": {"type": "array", "items": {"$ref": "urn:tree#/properties/name"}},
    },
}


@pytest.mark.parametrize(
    ("mapping", "where", "code"),
    [
        ({"others": ["a", 1]}, "others[1]", "MAPPING_TYPE_INCOMPATIBLE"),
        ({"more": [1]}, "more[0]", "MAPPING_TYPE_INCOMPATIBLE"),
        ({"children": [{"name": "a", "children": [{"name": 1}]}]}, "children[0].children[0].name", None),
        ({"child": {"name": "a", "child": {"name": 1}}}, "child.child.name", None),
        ({"child": {}}, "child.name", "MISSING_REQUIRED_MAPPING"),
        ({"child": {"name": "a", "others": ["b"]}, "children": [{"name": "c"}], "more": ["d"]}, None, None),
    ],
)
def test_references_of_an_actions_schema_lead_where_they_do_in_a_call(
    mapping: Any, where: str | None, code: str | None
) -> None:
    actions = Actions({("tree", 1): TREE})
    problems = found(call("tree", inputMapping={"name": "root", **mapping}), actions=actions)
    expected = [(code or "MAPPING_TYPE_INCOMPATIBLE", f"root.steps[0].config.inputMapping.{where}")]
    assert seen(problems) == ([] if where is None else expected)


@pytest.mark.parametrize("value", [1, EXPR, {"$secret": "A"}])
def test_a_field_that_the_action_does_not_have_is_a_warning(value: Any) -> None:
    (problem,) = found(call("typed", inputMapping={"closed": {"onn": value}, "others": value}))
    assert seen([problem]) == [("MAPPING_TYPE_UNKNOWN", "root.steps[0].config.inputMapping.closed.onn")]
    assert (problem.severity, problem.suggestion) == ("warning", "on")


@pytest.mark.parametrize("key", ["$expr", "$secret"])
def test_an_expression_in_the_place_of_a_whole_mapping_is_told_as_that(key: str) -> None:
    (problem,) = found(call(inputMapping={key: "payload"}))
    assert seen([problem]) == [("UNKNOWN_SPECIAL_KEY", f"root.steps[0].config.inputMapping.{key}")]
    assert "each field a value of its own" in problem.message
    assert problem.suggestion is None


def test_a_key_that_looks_special_is_a_warning() -> None:
    problems = found(call(inputMapping={"a": [{"$exp": "x"}]}))
    assert seen(problems) == [("UNKNOWN_SPECIAL_KEY", "root.steps[0].config.inputMapping.a[0].$exp")]
    assert (problems[0].severity, problems[0].suggestion) == ("warning", "$expr")


def test_what_a_mapping_reads_below_a_field_that_the_schema_leaves_open_is_let_alone() -> None:
    schema = {"type": "object", "properties": {"any": True, "deep": {"type": "object", "properties": {"n": {}}}}}
    mapping = {"inner": {"on": {"$expr": "payload.any.on"}}, "free": {"$expr": "payload.deep.n.more"}}
    steps = [call("typed", inputMapping=mapping, saveAs="system.x"), assign(**{"payload.deep.n.more": "1"})]
    codes = [problem.code for problem in found(*steps, payload_schema=schema)]
    assert codes == ["INVALID_ASSIGN_PATH"]
