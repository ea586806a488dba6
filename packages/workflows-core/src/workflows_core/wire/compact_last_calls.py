"""The call of what may be a run's last action, and its answer, as they stand in a history; see `wire.compact`."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final, Literal, NamedTuple, cast

from workflows_core.wire.compact import without
from workflows_core.wire.records import ActionCall, LastAnswer

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
_SCOPES: Final[Mapping[str, Any]] = {"payload": {}, "meta": {}, "error": None}
_ENDED: Final[Mapping[str, Any]] = {"status": "SUCCEEDED", "category": None}
_FRAME: Final[Mapping[str, Any]] = {"parent": None, "pending": None, "binding": None}
_IDENTITY: Final[Mapping[str, Any]] = {"trigger_type": None}
_OF_WRITE: Final[tuple[Literal["run_id", "tenant"], ...]] = ("run_id", "tenant")
_OF_VERSION: Final[tuple[Literal["workflow_id", "workflow_version"], ...]] = ("workflow_id", "workflow_version")
_CALLED: Final[
    tuple[Literal["action_id", "action_version", "idempotency_key", "authored_key", "input", "secrets"], ...]
] = ("action_id", "action_version", "idempotency_key", "authored_key", "input", "secrets")


class Asked(NamedTuple):
    """What such a call has beside the call itself.

    Attributes:
        command_id: Of the run's command.
        at: When it was made, in milliseconds since the epoch.
        copy: The state of the run then (`State.to_copy`).
    """

    command_id: str
    at: int
    copy: Mapping[str, Any]


def compact_asked(call: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """Input of the activity; the call is as `compact_call` has it, and the state leaves out what it says already."""
    copy, step_path = asked.copy, call["step_path"]
    identity = {name: value for name, value in copy["identity"].items() if name not in _OF_WRITE}
    state = {
        **without(copy, {**_COPY, "currentPath": step_path}),
        "identity": without(identity, _IDENTITY),
        "scopes": without(copy["scopes"], _SCOPES),
        "frames": [_compact_frame(frame, asked) for frame in copy["frames"]],
    }
    body = {"call": call, "commandId": asked.command_id, "at": asked.at, "state": state}
    return without(body, {"commandId": _command_of(step_path)})


def full_asked(body: Mapping[str, Any], call: ActionCall) -> Asked:
    """Inverse of `compact_asked`; in earlier builds the whole identity was the call's."""
    write, step_path, state = call["write"], call["step_path"], body["state"]
    of_write = {name: write[name] for name in (*_OF_WRITE, *_OF_VERSION)}
    asked = Asked(body.get("commandId", _command_of(step_path)), body["at"], {})
    copy = {
        **_COPY,
        "currentPath": step_path,
        **state,
        "identity": {**of_write, **_IDENTITY, **state["identity"]},
        "scopes": {**deepcopy(_SCOPES), **state["scopes"]},
        "frames": [_full_frame(frame, call, asked) for frame in state["frames"]],
    }
    return asked._replace(copy=copy)


def compact_answer(answer: LastAnswer, step_path: str) -> dict[str, Any]:
    """Result of the activity."""
    if "ended" not in answer:
        return dict(answer)
    return {**answer, "ended": without(answer["ended"], {**_ENDED, "path": step_path})}


def full_answer(body: Mapping[str, Any], step_path: str) -> LastAnswer:
    """Inverse of `compact_answer`."""
    if "ended" not in body:
        return cast(LastAnswer, body)
    return cast(LastAnswer, {**body, "ended": {**_ENDED, "path": step_path, **body["ended"]}})


def _command_of(step_path: str) -> str:
    return f"{step_path}@1"


def _compact_frame(frame: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    known = dict(frame)
    if frame["pending"] is not None and frame["pending"]["command_id"] == asked.command_id:
        apart = {name: value for name, value in frame["pending"].items() if name != "call"}
        known["pending"] = without(apart, _usual_pending(asked))
    return without(known, {**_FRAME, "block": frame["path"]})


def _full_frame(body: Mapping[str, Any], call: ActionCall, asked: Asked) -> dict[str, Any]:
    frame = {**_FRAME, "block": body["path"], **body}
    if frame["pending"] is not None and frame["pending"].get("command_id", asked.command_id) == asked.command_id:
        called = {name: call[name] for name in _CALLED if name in call}
        frame["pending"] = {**_usual_pending(asked), **frame["pending"], "call": called}
    return frame


def _usual_pending(asked: Asked) -> dict[str, Any]:
    return {"kind": "action", "attempt": 1, "command_id": asked.command_id, "started_at": asked.at}
