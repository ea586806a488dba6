"""Records as they stand in a run's history: what is usual is left out, and a long definition is compressed.

Reading takes both forms, so that histories and activities of earlier builds are read as well. What is usual is in this
module and nowhere else: a value here never changes, since it stands in histories by absence.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any, Final, Literal, cast

from workflows_core.wire.names import run_id_of
from workflows_core.wire.records import ActionCall, LoadedRun, RunWrite, StepRecord

COMPRESSED_FROM_BYTES = 1024
"""A definition of this length in JSON is compressed in the history; the published version is what people read."""

_CALL: Final[Mapping[str, Any]] = {"visit": 1, "name": None, "attempt": 1, "authored_key": False}
_WRITE: Final[Mapping[str, Any]] = {
    "definition_hash": None,
    "trigger_type": None,
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
_COPY: Final[Mapping[str, Any]] = {
    "generation": 0,
    "undo": [],
    "bindings": [],
    "outbox": {"entries": [], "waitsWritten": [], "statusWritten": None},
    "keptEvents": [],
    "consumedEvents": [],
    "droppedEvents": 0,
    "ending": None,
}
_FRAME: Final[Mapping[str, Any]] = {"parent": None, "pending": None, "binding": None}
_IDENTITY: Final[tuple[Literal["run_id", "tenant", "workflow_id", "workflow_version"], ...]] = (
    "run_id",
    "tenant",
    "workflow_id",
    "workflow_version",
)
_CALLED: Final[
    tuple[Literal["action_id", "action_version", "idempotency_key", "authored_key", "input", "secrets"], ...]
] = ("action_id", "action_version", "idempotency_key", "authored_key", "input", "secrets")


def compact_json(value: Any, *, allow_nan: bool = True) -> str:
    """A value as it travels in a history: no blanks, no escapes outside ASCII."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=allow_nan)


def compact_bytes(value: Any) -> int:
    """What `compact_json` weighs in UTF-8: the size of an action's output."""
    return len(compact_json(value).encode(errors="surrogatepass"))


def idempotency_key_of(run_id: str, step_path: str) -> str:
    """The key of a call whose author gives none."""
    return f"{run_id}:{step_path}:1"


def compact_call(call: ActionCall, temporal_id: str, *, has_row: bool) -> dict[str, Any]:
    """Input of the activity that runs an action; arguments as for `compact_write`."""
    write = call["write"]
    usual = {**_CALL, "idempotency_key": idempotency_key_of(write["run_id"], call["step_path"])}
    here = {"node_path": call["step_path"]}
    return {**_without(call, usual), "write": _compact(write, temporal_id, here, has_row=has_row)}


def full_call(body: Mapping[str, Any], temporal_id: str) -> ActionCall:
    """Inverse of `compact_call`."""
    write = _full(body["write"], temporal_id, {"node_path": body["step_path"]})
    usual = {**_CALL, "idempotency_key": idempotency_key_of(write["run_id"], body["step_path"])}
    return cast(ActionCall, {**usual, **body, "write": write})


def compact_copy(copy: Mapping[str, Any], command_id: str) -> dict[str, Any]:
    """The state of a run (`State.to_copy`) beside the call that the command made, which has the rest."""
    identity = {name: value for name, value in copy["identity"].items() if name not in _IDENTITY}
    frames = [_compact_frame(frame, command_id) for frame in copy["frames"]]
    return {**_without(copy, _COPY), "identity": identity, "frames": frames}


def full_copy(body: Mapping[str, Any], call: ActionCall, command_id: str) -> dict[str, Any]:
    """Inverse of `compact_copy`."""
    identity = {**{name: call["write"][name] for name in _IDENTITY}, **body["identity"]}
    frames = [_full_frame(frame, call, command_id) for frame in body["frames"]]
    return {**_COPY, **body, "identity": identity, "frames": frames}


def compact_write(write: RunWrite, temporal_id: str, *, has_row: bool) -> dict[str, Any]:
    """Input of the activities that write for a run.

    Args:
        write: What they write.
        temporal_id: Workflow id of the run; the activity is told it by Temporal as well.
        has_row: The run has a row, so that what only an insert needs stays away: `definition_hash` and
            `trigger_type`, which read as None then.
    """
    return _compact(write, temporal_id, {}, has_row=has_row)


def full_write(body: Mapping[str, Any], temporal_id: str) -> RunWrite:
    """Inverse of `compact_write`."""
    return _full(body, temporal_id, {})


def compact_loaded(loaded: LoadedRun) -> dict[str, Any]:
    """Result of the load activity."""
    definition = compact_json(loaded["definition"]).encode()
    if len(definition) < COMPRESSED_FROM_BYTES:
        return dict(loaded)
    rest = {name: value for name, value in loaded.items() if name != "definition"}
    return {**rest, "definition_zlib": base64.b64encode(zlib.compress(definition)).decode()}


def full_loaded(body: Mapping[str, Any]) -> LoadedRun:
    """Inverse of `compact_loaded`."""
    if "definition_zlib" not in body:
        return cast(LoadedRun, body)
    rest = {name: value for name, value in body.items() if name != "definition_zlib"}
    definition = json.loads(zlib.decompress(base64.b64decode(body["definition_zlib"])))
    return cast(LoadedRun, {**rest, "definition": definition})


def _compact(write: RunWrite, temporal_id: str, usual: Mapping[str, Any], *, has_row: bool) -> dict[str, Any]:
    known = {**write, "steps": [_compact_step(step, write) for step in write["steps"]]}
    if has_row:
        known |= {"definition_hash": None, "trigger_type": None}
    return _without(known, {**_WRITE, **usual, "run_id": run_id_of(temporal_id)})


def _full(body: Mapping[str, Any], temporal_id: str, usual: Mapping[str, Any]) -> RunWrite:
    lists: dict[str, Any] = {name: [] for name in _LISTS}
    write = {**_WRITE, **lists, **usual, "run_id": run_id_of(temporal_id), **body}
    return cast(RunWrite, {**write, "steps": [_full_step(step, write) for step in write["steps"]]})


def _compact_step(step: StepRecord, write: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = dict(step)
    if step["invocation"] is not None:
        usual = {**_INVOCATION, "idempotency_key": idempotency_key_of(write["run_id"], step["step_path"])}
        known["invocation"] = _without(step["invocation"], usual)
    return _without(known, {**_STEP, **_of_write(write), "completed_at": step["started_at"]})


def _full_step(body: Mapping[str, Any], write: Mapping[str, Any]) -> dict[str, Any]:
    step = {**_STEP, **_of_write(write), "completed_at": body["started_at"], **body}
    if step["invocation"] is not None:
        usual = {**_INVOCATION, "idempotency_key": idempotency_key_of(write["run_id"], step["step_path"])}
        step["invocation"] = {**usual, **step["invocation"]}
    return step


def _compact_frame(frame: Mapping[str, Any], command_id: str) -> dict[str, Any]:
    known = dict(frame)
    if frame["pending"] is not None and frame["pending"]["command_id"] == command_id:
        known["pending"] = {name: value for name, value in frame["pending"].items() if name != "call"}
    return _without(known, {**_FRAME, "block": frame["path"]})


def _full_frame(body: Mapping[str, Any], call: ActionCall, command_id: str) -> dict[str, Any]:
    frame = {**_FRAME, "block": body["path"], **body}
    if frame["pending"] is not None and frame["pending"]["command_id"] == command_id:
        frame["pending"] = {**frame["pending"], "call": {name: call[name] for name in _CALLED if name in call}}
    return frame


def _of_write(write: Mapping[str, Any]) -> dict[str, Any]:
    return {"generation": write["generation"], "sequence": write["sequence"]}


def _without(record: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in usual or value != usual[name]}
