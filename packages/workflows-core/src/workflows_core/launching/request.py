"""What a launch is asked for and what it gives, and the checks that need no database."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from workflows_core.errors import Json, Problem, Refused
from workflows_core.storage.json_text import is_storable, payload_fault

_MAX_RUN_ID = 200
_MIN_REASON = 3
_MAX_VERSION = 2**31 - 1


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """A run to start.

    Attributes:
        tenant: Whose run it is; from the authenticated context.
        workflow: Key or id of the workflow.
        version: Published version; None for the newest.
        payload: JSON value that the run starts with.
        run_id: The same id never starts twice, and launching it again finishes a launch that was cut short.
        trigger_type: `event`, `schedule`, `recurring`, or None for a caller.
        trigger_metadata: JSON about the trigger.
        trigger_fire_key: Of one firing; at most one run of the tenant has it.
        event_type: Name of the event that starts it.
        execution_key: Carried along for the caller.
        parent_run_id: The run that calls it.
        root_run_id: The topmost such run.
        checkpoint: The state that the run begins with, as JSON text; internal, for a run that takes another's place.
    """

    tenant: str
    workflow: str
    version: int | None = None
    payload: Json = field(default_factory=dict)
    run_id: str | None = None
    trigger_type: str | None = None
    trigger_metadata: dict[str, Any] | None = None
    trigger_fire_key: str | None = None
    event_type: str | None = None
    execution_key: str | None = None
    parent_run_id: str | None = None
    root_run_id: str | None = None
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True)
class LaunchedRun:
    """A launched run.

    Attributes:
        run_id: Its id.
        workflow_id: What it runs.
        workflow_version: In which version.
        status: As the database has it; RUNNING after a fresh start.
        temporal_workflow_id: Its workflow id in Temporal.
        temporal_run_id: Its first execution, None when not known.
        created: False when the run was there already.
        polled: Whether a worker polls the queue; None when nobody could tell.
    """

    run_id: str
    workflow_id: str
    workflow_version: int
    status: str
    temporal_workflow_id: str
    temporal_run_id: str | None
    created: bool
    polled: bool | None = None


def checked_reason(reason: str, code: str, path: str) -> str:
    """The reason that somebody gives, without blanks around it.

    Args:
        reason: As it was given.
        code: Of the refusal.
        path: Where it was given.

    Raises:
        Refused: It says nothing.
    """
    said = reason.strip()
    if len(said) < _MIN_REASON:
        raise Refused.one(code, f"say why, in {_MIN_REASON} characters or more: operators read it later", path)
    return said


def checked_run_id(request: LaunchRequest) -> str:
    """The run's id, a new one where the request names none.

    Raises:
        Refused: `LAUNCH_INVALID`, with everything that is wrong with the request.
    """
    problems: list[Problem] = []
    for name, value in (("tenant", request.tenant), ("workflow", request.workflow)):
        if not value.strip() or not is_storable(value):
            problems.append(Problem("LAUNCH_INVALID", "must be UTF-8 text that is not empty and has no NUL", name))
    run_id = str(uuid.uuid4()) if request.run_id is None else request.run_id
    if not run_id.strip() or len(run_id) > _MAX_RUN_ID or not run_id.isprintable():
        message = f"must be printable text of 1 to {_MAX_RUN_ID} characters"
        problems.append(Problem("LAUNCH_INVALID", message, "runId"))
    if request.version is not None and not 1 <= request.version <= _MAX_VERSION:
        problems.append(Problem("LAUNCH_INVALID", f"must be 1 to {_MAX_VERSION}", "version"))
    fault = payload_fault(request.payload)
    if fault is not None:
        problems.append(Problem("LAUNCH_INVALID", fault, "payload"))
    if problems:
        raise Refused(problems)
    return run_id
