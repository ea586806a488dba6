"""What goes into `step` and what comes out: events and commands.

Time is inside the events only, milliseconds since the epoch. A command is answered by an event with
its `command_id`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from workflows_core.errors import Failure
from workflows_core.wire.messages import EventSignal


@dataclass(frozen=True, slots=True)
class Begin:
    """Start, or go on after continue-as-new: runs what can run."""

    at: int


@dataclass(frozen=True, slots=True)
class ActionSucceeded:
    """An action's output; `size` is its JSON length in bytes.

    `recorded`: the activity that ran it has written the step's row; a short action's has not.
    """

    command_id: str
    at: int
    output: Any
    size: int
    recorded: bool


@dataclass(frozen=True, slots=True)
class ActionStepFailed:
    """An action's failure; `recorded` as above."""

    command_id: str
    at: int
    failure: Failure
    recorded: bool


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer is due."""

    command_id: str
    at: int


@dataclass(frozen=True, slots=True)
class EventReceived:
    """A signal `workflowRuntimeV2Event`."""

    signal: EventSignal
    at: int


@dataclass(frozen=True, slots=True)
class ChildLaunched:
    """A child run has been started."""

    command_id: str
    at: int


@dataclass(frozen=True, slots=True)
class TaskAnswered:
    """A signal `workflowRuntimeV2HumanTask`; `event_id` is None where the caller gave none."""

    task_id: str
    payload: Any
    event_id: str | None
    at: int


@dataclass(frozen=True, slots=True)
class QuotaResumed:
    """A signal `workflowRuntimeV2QuotaResume`."""

    at: int


@dataclass(frozen=True, slots=True)
class Noted:
    """Something for the run's own log, such as a signal that was ignored; `step_path` None is the current step."""

    level: Literal["INFO", "WARN"]
    message: str
    step_path: str | None
    at: int


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The run is to end CANCELED."""

    at: int


Event = (
    Begin
    | ActionSucceeded
    | ActionStepFailed
    | ChildLaunched
    | TimerFired
    | EventReceived
    | TaskAnswered
    | QuotaResumed
    | Noted
    | CancelRequested
)


@dataclass(frozen=True, slots=True)
class RunAction:
    """Call an action. `call` holds action_id, action_version, idempotency_key, authored_key, input."""

    command_id: str
    step_path: str
    step_id: str
    name: str | None
    attempt: int
    call: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LaunchChild:
    """Start a run of another workflow; answered by `ChildLaunched` or `ActionStepFailed`."""

    command_id: str
    step_path: str
    step_id: str
    child_run_id: str
    workflow_id: str
    workflow_version: int
    payload: Any


@dataclass(frozen=True, slots=True)
class CancelChild:
    """Ask a child run to end; no answer."""

    child_run_id: str
    step_path: str


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Answer with `TimerFired` at `due_at`; `summary` is for people."""

    command_id: str
    due_at: int
    summary: str


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """The timer is of no interest any more."""

    command_id: str


@dataclass(frozen=True, slots=True)
class CancelAction:
    """The action's answer is of no interest any more: an action that can be cancelled is."""

    command_id: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The run has its outcome: write the end, then return or fail."""


Command = RunAction | LaunchChild | CancelChild | StartTimer | CancelTimer | CancelAction | Finish
