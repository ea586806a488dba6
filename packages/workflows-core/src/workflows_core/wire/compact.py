"""Records as they stand in a run's history: what is usual is left out.

Reading takes both forms, so that histories and activities of earlier builds are read as well. What is usual is in this
module and nowhere else: a value here never changes, since it stands in histories by absence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from workflows_core.wire.names import run_id_of
from workflows_core.wire.records import ActionCall, RunWrite, StepRecord

_CALL: Final[Mapping[str, Any]] = {"visit": 1, "name": None, "attempt": 1, "action_version": 1, "authored_key": False}
_OF_INSERT: Final[Mapping[str, Any]] = {
    "workflow_id": None,
    "workflow_version": None,
    "definition_hash": None,
    "trigger_type": None,
}
_WRITE: Final[Mapping[str, Any]] = {
    **_OF_INSERT,
    "generation": 0,
    "status": "RUNNING",
    "node_path": None,
    "waiting_for": None,
    "steps": [],
    "consumed": [],
    "closed": [],
    "waits": None,
    "logs": [],
    "result_json": None,
    "error_json": None,
}
_LISTS: Final = tuple(name for name, value in _WRITE.items() if value == [])
_STEP: Final[Mapping[str, Any]] = {
    "visit": 1,
    "step_type": "action.call",
    "name": None,
    "status": "SUCCEEDED",
    "attempt": 1,
    "output_json": None,
    "error_json": None,
    "invocation": None,
}
_INVOCATION: Final[Mapping[str, Any]] = {
    "status": "SUCCEEDED",
    "attempt": 1,
    "input_json": None,
    "output_json": None,
    "error_json": None,
}


def compact_json(value: Any, *, allow_nan: bool = True) -> str:
    """A value as it travels in a history: no blanks, no escapes outside ASCII."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=allow_nan)


def compact_bytes(value: Any) -> int:
    """What `compact_json` weighs in UTF-8: the size of an action's output."""
    return len(compact_json(value).encode(errors="surrogatepass"))


def without(record: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """What is not as usual in a record."""
    return {name: value for name, value in record.items() if name not in usual or value != usual[name]}


def idempotency_key_of(run_id: str, step_path: str) -> str:
    """The key of a call whose author gives none."""
    return f"{run_id}:{step_path}:1"


def compact_call(call: ActionCall, temporal_id: str, *, has_row: bool) -> dict[str, Any]:
    """Input of the activity that runs an action; arguments as for `compact_write`."""
    write = call["write"]
    usual = {**_CALL, "idempotency_key": idempotency_key_of(write["run_id"], call["step_path"])}
    here = {"node_path": call["step_path"]}
    return {**without(call, usual), "write": _compact(write, temporal_id, here, has_row=has_row)}


def full_call(body: Mapping[str, Any], temporal_id: str) -> ActionCall:
    """Inverse of `compact_call`."""
    write = _full(body["write"], temporal_id, {"node_path": body["step_path"]})
    usual = {**_CALL, "idempotency_key": idempotency_key_of(write["run_id"], body["step_path"])}
    return cast(ActionCall, {**usual, **body, "write": write})


def compact_write(write: RunWrite, temporal_id: str, *, has_row: bool) -> dict[str, Any]:
    """Input of the activities that write for a run.

    Args:
        write: What they write.
        temporal_id: Workflow id of the run; the activity is told it by Temporal as well.
        has_row: The run has a row, so that what only an insert needs stays away: workflow, version, hash and trigger,
            which read as None then.
    """
    return _compact(write, temporal_id, {}, has_row=has_row)


def full_write(body: Mapping[str, Any], temporal_id: str) -> RunWrite:
    """Inverse of `compact_write`."""
    return _full(body, temporal_id, {})


def _compact(write: RunWrite, temporal_id: str, usual: Mapping[str, Any], *, has_row: bool) -> dict[str, Any]:
    known = {**write, "steps": [_compact_step(step, write) for step in write["steps"]]}
    if has_row:
        known |= _OF_INSERT
    return without(known, {**_WRITE, **usual, "run_id": run_id_of(temporal_id)})


def _full(body: Mapping[str, Any], temporal_id: str, usual: Mapping[str, Any]) -> RunWrite:
    lists: dict[str, Any] = {name: [] for name in _LISTS}
    write = {**_WRITE, **lists, **usual, "run_id": run_id_of(temporal_id), **body}
    return cast(RunWrite, {**write, "steps": [_full_step(step, write) for step in write["steps"]]})


def _compact_step(step: StepRecord, write: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = dict(step)
    if step["invocation"] is not None:
        usual = {**_INVOCATION, "idempotency_key": idempotency_key_of(write["run_id"], step["step_path"])}
        known["invocation"] = without(step["invocation"], usual)
    return without(known, {**_STEP, **_of_write(write), "completed_at": step["started_at"]})


def _full_step(body: Mapping[str, Any], write: Mapping[str, Any]) -> dict[str, Any]:
    step = {**_STEP, **_of_write(write), "completed_at": body["started_at"], **body}
    if step["invocation"] is not None:
        usual = {**_INVOCATION, "idempotency_key": idempotency_key_of(write["run_id"], step["step_path"])}
        step["invocation"] = {**usual, **step["invocation"]}
    return step


def _of_write(write: Mapping[str, Any]) -> dict[str, Any]:
    return {"generation": write["generation"], "sequence": write["sequence"]}
