"""What an expression reads of a document, and how long that is as JSON."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from workflows_core.expressions.reading import Read, cut, cutter_of, json_bytes

_KEYS = st.sampled_from(["a", "b", "c", "", 'ключ "é\n'])
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=20
)
_READS: st.SearchStrategy[Read] = st.recursive(
    st.just(True), lambda inner: st.dictionaries(_KEYS, inner, max_size=3), max_leaves=6
)


def _kept(value: Any, read: Read) -> Any:
    """The oracle: what is read, one member after the other."""
    if isinstance(read, bool):
        return value
    if isinstance(value, dict):
        return {key: _kept(value[key], nested) for key, nested in read.items() if key in value}
    return [_kept(item, read) for item in value] if isinstance(value, list) else value


@given(value=_VALUES, read=_READS)
def test_what_is_cut_is_counted_as_json_writes_it(value: Any, read: Read) -> None:
    found, size = cut(value, cutter_of(read))
    assert found == _kept(value, read)
    assert size == len(json.dumps(found))


@given(value=_VALUES)
def test_a_value_is_as_long_as_json_writes_it(value: Any) -> None:
    assert json_bytes(value) == len(json.dumps(value))
