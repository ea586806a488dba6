"""A value that plainly fits its schema is one in which the library finds nothing either."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.plain_values import fits_plainly

NAMES = st.sampled_from("abc")
TYPES = st.sampled_from(["object", "array", "string", "boolean", "null", "integer", "number"])
LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, -2.0]) | st.text("ab", max_size=3)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "patternProperties": st.dictionaries(NAMES, inner, max_size=1),
            "additionalProperties": inner,
            "required": st.lists(NAMES, max_size=2, unique=True),
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "minLength": st.integers(0, 2),
            "maxLength": st.integers(0, 2),
            "minimum": st.integers(-2, 2),
            "maximum": st.sampled_from([-1, 0.5, 2]),
            "const": LEAVES,
            "not": inner,
            "description": st.just("x"),
        },
    )


SCHEMAS: st.SearchStrategy[Any] = st.recursive(st.booleans() | st.just({}), nested, max_leaves=8)


@given(SCHEMAS, VALUES)
def test_what_plainly_fits_has_no_problem_for_the_library(schema: Any, value: Any) -> None:
    if fits_plainly(schema, value):
        assert list(Draft202012Validator(schema).iter_errors(value)) == []


def test_what_usual_actions_take_and_give_is_seen() -> None:
    fields = {"number": {"type": "integer", "minimum": 0}, "name": {"type": "string", "maxLength": 5}}
    schema = {"type": "object", "properties": fields, "required": ["number"], "additionalProperties": False}
    assert fits_plainly(schema, {"number": 1, "name": "a"})
    assert fits_plainly({"type": "array", "items": {"type": ["number", "null"]}}, [1, 0.5, None])
    truncate = next(action for action in core_pack(HttpPolicy())() if action.id == "transform.truncate_text")
    assert fits_plainly(truncate.input_schema, {"text": "hello", "maxLength": 3})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, True),
        ({"type": "integer"}, 1.0),
        ({"type": "string", "pattern": "a"}, "a"),
        ({"$ref": "#/$defs/x", "$defs": {"x": True}}, 1),
        ({"required": ["a"]}, {}),
        ({"additionalProperties": False}, {"a": 1}),
        (False, 1),
        ({"items": {"type": "integer"}}, [1] * 1000),
    ],
)
def test_what_is_not_plain_is_left_to_the_library(schema: Any, value: Any) -> None:
    assert not fits_plainly(schema, value)


def test_a_long_or_endless_value_is_left_to_the_library() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    schema: dict[str, Any] = {}
    schema["items"] = schema
    assert not fits_plainly(schema, deep)
    assert not fits_plainly({"items": True}, [1] * 1000)
