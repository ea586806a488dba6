"""JSON text and values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.actions import Core
from workflows_core.errors import ActionFailed, ErrorCategory
from workflows_core.wire.text import MAX_PARSED_DEPTH

CORE = Core()
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=10)
NUMBERS = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=15,
)
TYPES = {
    dict: "object",
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


@given(VALUES, st.integers(0, 8))
def test_parse_undoes_stringify(value: Any, spacing: int) -> None:
    text = CORE.run("transform.stringify_json", {"source": value, "spacing": spacing})["text"]
    assert text == json.dumps(
        value,
        ensure_ascii=False,
        indent=spacing or None,
        separators=None if spacing else (",", ":"),
    )
    assert CORE.run("transform.parse_json", {"source": text}) == {"value": value, "type": TYPES[type(value)]}


@pytest.mark.parametrize("source", [{"a": 1}, [1, {"b": None}]])
def test_an_object_or_list_comes_back_as_it_is(source: Any) -> None:
    assert CORE.run("transform.parse_json", {"source": source})["value"] == source


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ("{'a': 1}", "line 1, column 2"),
        ('{"a": 1}\n}', "line 2, column 1"),
        ("NaN", "NaN is no JSON number"),
        ("[-Infinity]", "-Infinity is no JSON number"),
        ("1e999", "number out of range"),
        ("1" * 5_000, "number out of range"),
        ('"\\u0000"', "U+0000"),
        ('{"a\\u0000": 1}', "U+0000"),
        ('"\\ud83d"', "surrogate"),
        ("[" * (MAX_PARSED_DEPTH + 1) + "]" * (MAX_PARSED_DEPTH + 1), "deeper than 100"),
        ("[" * 200_000, "deeper than 100"),
        ('{"a":' * 200_000, "deeper than 100"),
    ],
)
def test_what_cannot_be_parsed_is_said(text: str, says: str) -> None:
    with pytest.raises(ActionFailed) as failed:
        CORE.run("transform.parse_json", {"source": text})
    failure = failed.value.failure
    assert (failure.category, failure.code) == (ErrorCategory.VALIDATION, "TRANSFORM_JSON_INVALID")
    assert says in failure.message


def test_the_deepest_text_that_is_parsed() -> None:
    text = "[" * MAX_PARSED_DEPTH + "]" * MAX_PARSED_DEPTH
    assert CORE.run("transform.parse_json", {"source": text})["type"] == "array"


def test_of_a_field_that_is_written_twice_the_last_counts() -> None:
    assert CORE.run("transform.parse_json", {"source": '{"a": 1, "a": 2}'})["value"] == {"a": 2}


@pytest.mark.parametrize("spacing", [0, 8])
def test_a_text_that_would_be_huge_is_refused(spacing: int) -> None:
    value: Any = ["x" * 100] * 20_000
    for _ in range(50):
        value = [value]
    with pytest.raises(ActionFailed) as failed:
        CORE.run("transform.stringify_json", {"source": value, "spacing": spacing})
    assert failed.value.failure.code == "TRANSFORM_TOO_LARGE"
