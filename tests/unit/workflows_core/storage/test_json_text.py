"""JSON text that PostgreSQL takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows_core.storage.json_text import is_storable, json_text

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=8)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(ANY_JSON)
def test_what_can_be_stored_is_stored_as_it_is(value: Any) -> None:
    read = json.loads(json_text(value))
    assert is_storable(read), "nothing is left that the database refuses"
    assert (read == value) is is_storable(value)


@pytest.mark.parametrize("value", ["a\x00b", {"\x00": 1}, ["\ud800"], {"a": [{"b": "\udfff"}]}])
def test_what_cannot_is_replaced_and_told(value: Any) -> None:
    assert not is_storable(value)
    assert "\ufffd" in str(json.loads(json_text(value)))


@pytest.mark.parametrize("value", ["\\u0000", "\\ud800 as text", "🙂", {"ä": "\\"}])
def test_text_that_only_looks_like_it_stays(value: Any) -> None:
    assert is_storable(value)
    assert json.loads(json_text(value)) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_does_not_have_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(value)
