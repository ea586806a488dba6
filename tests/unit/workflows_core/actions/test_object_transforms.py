"""Transforms of objects and lists, against plain Python."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.actions import Core

CORE = Core()
NAMES = st.text("abcd", min_size=1, max_size=2)
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text("xy", max_size=3), st.lists, max_leaves=5)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=6)


@given(OBJECTS, st.lists(NAMES))
def test_pick_keeps_the_named_fields_that_are_there(source: dict[str, Any], fields: list[str]) -> None:
    before = copy.deepcopy(source)
    expected = {name: value for name, value in source.items() if name in fields}
    assert CORE.run("transform.pick_fields", {"source": source, "fields": fields}) == {"object": expected}
    assert source == before


@given(OBJECTS, st.dictionaries(NAMES, NAMES))
def test_rename_keeps_every_value_that_no_other_replaces(source: dict[str, Any], renames: dict[str, str]) -> None:
    entries = [{"from": old, "to": new} for old, new in renames.items()]
    result = CORE.run("transform.rename_fields", {"source": source, "renames": entries})["object"]
    present = {old: new for old, new in renames.items() if old in source}
    assert set(result) == (set(source) - set(present)) | set(present.values())
    for name, value in result.items():
        origins = [old for old, new in present.items() if new == name]
        assert value == source[origins[-1] if origins else name]


def test_two_fields_swap_their_names() -> None:
    renames = [{"from": "a", "to": "b"}, {"from": "b", "to": "a"}]
    value = {"source": {"a": 1, "b": 2, "c": 3}, "renames": renames}
    assert CORE.run("transform.rename_fields", value) == {"object": {"a": 2, "b": 1, "c": 3}}


@given(st.lists(st.tuples(NAMES, VALUES)))
def test_build_object_is_pythons_dict(pairs: list[tuple[str, Any]]) -> None:
    fields = [{"key": key, "value": value} for key, value in pairs]
    assert CORE.run("transform.build_object", {"fields": fields}) == {"object": dict(pairs)}


@given(st.lists(VALUES), st.lists(VALUES))
def test_append_is_pythons_plus(items: list[Any], values: list[Any]) -> None:
    assert CORE.run("transform.append_array", {"items": items, "values": values}) == {"items": items + values}


def test_what_a_mapping_leaves_out_counts_as_empty() -> None:
    assert CORE.run("transform.pick_fields", {"fields": ["a"]}) == {"object": {}}
    assert CORE.run("transform.pick_fields", {"source": None, "fields": ["a"]}) == {"object": {}}
    assert CORE.run("transform.rename_fields", {"source": {"a": 1}}) == {"object": {"a": 1}}
    assert CORE.run("transform.build_object", {"fields": [{"key": "a"}]}) == {"object": {"a": None}}
    assert CORE.run("transform.append_array", {}) == {"items": []}
