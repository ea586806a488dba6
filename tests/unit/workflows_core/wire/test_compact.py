"""What stands in a history says everything, in whichever form it stands there."""

from __future__ import annotations

import json
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from harness import run_records
from workflows_core.wire.compact import (
    compact_call,
    compact_write,
    full_call,
    full_write,
    idempotency_key_of,
)
from workflows_core.wire.names import run_id_of, workflow_id_of
from workflows_core.wire.records import ActionCall, RunWrite

RUN = "8a7c"
OURS = workflow_id_of(RUN)

SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=3)
ANY_JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
)
NUMBERS = st.integers(0, 2)
TEXTS = st.sampled_from(["", "root.steps[0]", "other"])
KEYS = st.sampled_from([idempotency_key_of(RUN, "root.steps[0]"), "authored"])
INVOCATIONS = st.fixed_dictionaries(
    {
        "action_id": TEXTS,
        "action_version": NUMBERS,
        "idempotency_key": KEYS,
        "status": st.sampled_from(["STARTED", "SUCCEEDED", "FAILED"]),
        "attempt": NUMBERS,
        "input_json": ANY_JSON,
        "output_json": ANY_JSON,
        "error_json": ANY_JSON,
    }
)
STEPS = st.fixed_dictionaries(
    {
        "step_path": TEXTS,
        "visit": NUMBERS,
        "definition_step_id": TEXTS,
        "step_type": st.sampled_from(["action.call", "control.if"]),
        "name": st.none() | TEXTS,
        "status": st.sampled_from(["STARTED", "SUCCEEDED", "FAILED"]),
        "attempt": NUMBERS,
        "started_at": NUMBERS,
        "completed_at": st.none() | NUMBERS,
        "output_json": ANY_JSON,
        "error_json": ANY_JSON,
        "generation": NUMBERS,
        "sequence": NUMBERS,
        "invocation": st.none() | INVOCATIONS,
    }
)
RECORDS = st.lists(st.fixed_dictionaries({"wait_id": TEXTS}), max_size=2)
WRITES = st.fixed_dictionaries(
    {
        "tenant": TEXTS,
        "run_id": st.sampled_from([RUN, "another"]),
        "workflow_id": TEXTS,
        "workflow_version": NUMBERS,
        "definition_hash": st.none() | TEXTS,
        "trigger_type": st.none() | TEXTS,
        "generation": NUMBERS,
        "sequence": NUMBERS,
        "status": st.sampled_from([None, "RUNNING", "WAITING", "FAILED"]),
        "node_path": st.none() | TEXTS,
        "waiting_for": st.none() | st.just({"waits": []}),
        "steps": st.lists(STEPS, max_size=3),
        "consumed": RECORDS,
        "closed": RECORDS,
        "waits": st.none() | RECORDS,
        "logs": RECORDS,
        "result_json": ANY_JSON,
        "error_json": ANY_JSON,
    },
    optional={"refused": RECORDS},
)
CALLS = st.fixed_dictionaries(
    {
        "step_path": TEXTS,
        "visit": NUMBERS,
        "definition_step_id": TEXTS,
        "name": st.none() | TEXTS,
        "attempt": NUMBERS,
        "action_id": TEXTS,
        "action_version": NUMBERS,
        "idempotency_key": KEYS,
        "authored_key": st.booleans(),
        "input": ANY_JSON,
        "write": WRITES,
    }
)
TEMPORAL_IDS = st.sampled_from([OURS, "made-up"])


def same(found: Any, wanted: Any) -> bool:
    """True for the same JSON: unlike `==`, this tells 1 from true."""
    return json.dumps(found, sort_keys=True) == json.dumps(wanted, sort_keys=True)


def travelled(value: Any) -> Any:
    return json.loads(json.dumps(value))


@given(WRITES, TEMPORAL_IDS)
def test_a_write_says_the_same_after_its_travel(write: Any, temporal_id: str) -> None:
    written: RunWrite = cast(RunWrite, write)
    assert same(full_write(travelled(compact_write(written, temporal_id, has_row=False)), temporal_id), write)
    assert same(full_write(travelled(write), temporal_id), write), "as an earlier build sent it"


@given(CALLS, TEMPORAL_IDS)
def test_a_call_says_the_same_after_its_travel(call: Any, temporal_id: str) -> None:
    called: ActionCall = cast(ActionCall, call)
    assert same(full_call(travelled(compact_call(called, temporal_id, has_row=False)), temporal_id), call)
    assert same(full_call(travelled(call), temporal_id), call), "as an earlier build sent it"


@given(WRITES)
def test_a_run_with_a_row_does_not_repeat_what_only_an_insert_needs(write: Any) -> None:
    body = compact_write(cast(RunWrite, write), OURS, has_row=True)
    of_insert = ("workflow_id", "workflow_version", "definition_hash", "trigger_type")
    assert not set(of_insert) & set(body)
    assert same(full_write(body, OURS), {**write, **dict.fromkeys(of_insert)})


def test_the_usual_call_has_nothing_that_can_be_told_from_the_rest() -> None:
    key = idempotency_key_of(run_records.RUN, "root.steps[0]")
    call = run_records.a_call(name=None, idempotency_key=key, write=run_records.a_write(7, trigger_type="event"))
    assert compact_call(call, workflow_id_of(run_records.RUN), has_row=True) == {
        "step_path": "root.steps[0]",
        "definition_step_id": "first",
        "action_id": "mail.send",
        "input": {"to": "a@example.org"},
        "write": {"tenant": "acme", "sequence": 7},
    }


def test_the_run_id_is_read_from_our_own_ids_only() -> None:
    assert run_id_of(OURS) == RUN
    assert run_id_of("made-up") is None


def test_what_was_read_can_be_changed_without_changing_what_is_read_next() -> None:
    """The usual lists are not shared between two writes."""
    body = compact_write(run_records.a_write(run_id=RUN), OURS, has_row=True)
    for name in ("steps", "consumed", "closed", "logs"):
        cast(dict[str, Any], full_write(body, OURS))[name].append({})
        assert cast(dict[str, Any], full_write(body, OURS))[name] == []
