"""Which references to secrets in an action's input are meant: those that the document puts there, and no others."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.interpreted import Run, act
from workflows_core.execution.action_calls import call_body
from workflows_core.execution.short_answers import fingerprint
from workflows_core.interpreter.writes import take_carried_write
from workflows_core.wire.compact import compact_call, full_call
from workflows_core.wire.compact_last_calls import Asked, compact_asked, full_asked
from workflows_core.wire.names import workflow_id_of
from workflows_core.wire.records import ActionCall

TOKEN = {"$secret": "API_TOKEN"}
TRIGGER = {
    "type": "event",
    "eventName": "PING",
    "payloadMapping": {"auth.token": TOKEN, "keys": [{"$expr": "event.payload.x"}, {"deep": TOKEN}], "id": "k1"},
}
PAYLOAD = {"auth": {"token": TOKEN}, "keys": [1, {"deep": TOKEN}], "id": "k1"}


def meant(mapping: dict[str, Any], payload: Any, **definition: Any) -> list[list[str | int]] | None:
    """The places of the call that a run makes; None where it says nothing of secrets."""
    found: list[list[str | int]] | None = Run(
        act(mapping=mapping), payload=payload, definition=definition
    ).call.call.get("secrets")
    return found


def test_a_call_without_anything_that_looks_like_a_secret_says_nothing_of_them() -> None:
    assert meant({"id": {"$expr": "payload.id"}, "text": "x"}, {"id": "k1"}) is None


@pytest.mark.parametrize("source", ["payload.note", "payload", "$merge([payload.note])", '{"$secret": payload.id}'])
def test_what_data_says_is_data(source: str) -> None:
    mapping = {"note": {"$expr": source}, "token": TOKEN}
    assert meant(mapping, {"note": TOKEN, "id": "API_TOKEN"}) == [["token"]]


def test_references_of_the_step_are_meant_at_any_depth() -> None:
    mapping = {"a": [1, {"b": TOKEN}, {"$expr": "payload.id"}], "c": {"d": {"$expr": "payload.id"}, "e": [TOKEN]}}
    assert meant(mapping, {"id": TOKEN}) == [["a", 1, "b"], ["c", "e", 0]]


def test_references_of_the_trigger_are_meant_where_the_payload_is_taken_by_its_path() -> None:
    mapping = {"one": {"$expr": " payload.auth.token "}, "all": {"$expr": "payload"}, "key": {"$expr": "payload.keys"}}
    assert meant(mapping, PAYLOAD, trigger=TRIGGER) == [
        ["one"],
        ["all", "auth", "token"],
        ["all", "keys", 1, "deep"],
        ["key", 1, "deep"],
    ]
    named = {**TRIGGER, "payloadMapping": {"x-api key": TOKEN}}
    by_name = {"key": {"$expr": "payload.`x-api key`"}}
    assert meant(by_name, {"x-api key": TOKEN}, trigger=named) == [["key"]]
    # Not where somebody has put another one, nor elsewhere, nor without the trigger that puts it there.
    other = {**PAYLOAD, "auth": {"token": {"$secret": "OTHER"}}, "note": TOKEN}
    assert (
        meant({"one": {"$expr": "payload.auth.token"}, "note": {"$expr": "payload.note"}}, other, trigger=TRIGGER) == []
    )
    assert meant({"one": {"$expr": "payload.auth.token"}}, PAYLOAD) == []
    beside = {**PAYLOAD, "other": {"token": TOKEN}}
    assert meant({"other": {"$expr": "payload.other"}}, beside, trigger=TRIGGER) == []


def _with(value: Any, seen: Any) -> Any:
    """A mapping's value as a run with that data would have it."""
    if isinstance(value, dict):
        return seen if "$expr" in value else {name: _with(member, seen) for name, member in value.items()}
    return [_with(item, seen) for item in value] if isinstance(value, list) else value


def _places(value: Any, here: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    if isinstance(value, dict):
        if "$secret" in value:
            return {here}
        return {place for name, member in value.items() for place in _places(member, (*here, name))}
    if isinstance(value, list):
        return {place for index, item in enumerate(value) for place in _places(item, (*here, index))}
    return set()


VALUES = st.recursive(
    st.sampled_from([TOKEN, {"$secret": "B"}, {"$expr": "payload.data"}, 1, "$secret", None]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from("xyz"), VALUES, min_size=1), st.sampled_from([TOKEN, [TOKEN], {"a": TOKEN}, 7]))
def test_whatever_the_data_the_places_are_those_of_the_document(mapping: dict[str, Any], data: Any) -> None:
    run = Run(act(mapping=mapping), payload={"data": data})
    assert run.call.call["input"] == _with(mapping, data)
    assert {tuple(place) for place in run.call.call.get("secrets", [])} == _places(mapping)


def test_the_places_travel_with_the_call_and_its_state() -> None:
    run = Run(act(mapping={"token": TOKEN}))
    state, write = take_carried_write(run.state, run.call.step_path)
    call = cast(ActionCall, call_body(run.call, write))
    temporal_id = workflow_id_of(write["run_id"])
    assert full_call(json.loads(json.dumps(compact_call(call, temporal_id, has_row=False))), temporal_id) == call
    copy = state.to_copy()
    assert full_asked(compact_asked(call, Asked(run.call.command_id, 7, copy)), call).copy == copy
    assert call["secrets"] == [["token"]]


def test_the_fingerprint_of_a_call_is_that_of_the_builds_before() -> None:
    called = Run(act(mapping={"token": TOKEN})).call
    assert fingerprint(called) == "a5862dca4dbc8f84"
