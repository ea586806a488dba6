"""The hash that pins a definition depends on the document's value only."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows_core.definitions.hashing import canonical_json, definition_hash

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def test_the_text_and_the_hash_of_a_document_are_fixed() -> None:
    document = {"b": [1, 2.0, 2.5, None, True], "a": {"ü": "\u2028"}}
    assert canonical_json(document) == '{"a":{"ü":"\u2028"},"b":[1,2,2.5,null,true]}'
    assert definition_hash({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@given(JSON_VALUES)
def test_the_order_of_keys_does_not_count_and_reading_back_changes_nothing(value: Any) -> None:
    def reversed_keys(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: reversed_keys(item[key]) for key in reversed(item)}
        return [reversed_keys(one) for one in item] if isinstance(item, list) else item

    text = canonical_json(value)
    assert canonical_json(reversed_keys(value)) == text
    assert canonical_json(json.loads(text)) == text


@pytest.mark.parametrize(("written", "kept"), [("1e23", "1" + "0" * 23), ("-0.0", "0"), ("100.0", "100")])
def test_a_number_that_a_database_keeps_in_full_has_the_same_text(written: str, kept: str) -> None:
    # PostgreSQL's jsonb gives 1e23 back as 1 and 23 zeros.
    assert canonical_json(json.loads(written)) == canonical_json(json.loads(kept)) == kept


@pytest.mark.parametrize("value", [1.5, 0, False, "1", None, [1], {"a": 1}])
def test_different_values_have_different_hashes(value: Any) -> None:
    assert definition_hash(value) != definition_hash(1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, {"a": {1}}])
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical_json(value)
