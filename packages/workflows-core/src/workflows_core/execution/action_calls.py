"""How the driver gives a call to its activity, and reads what went wrong with it."""

from __future__ import annotations

from typing import Any, cast

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import FailureError

from workflows_core.errors import ErrorCategory, Failure, StepFailed
from workflows_core.execution.failures import StepFailure, step_failure
from workflows_core.execution.payloads import encode
from workflows_core.interpreter.messages import RunAction
from workflows_core.wire.compact import compact_call, compact_write
from workflows_core.wire.records import ActionCall, RunWrite

MAX_INPUT_BYTES = 1024 * 1024
"""An action's input with the records that travel with it; the server's own limit is 2 MB."""


def input_too_large(command: RunAction, size: int) -> Failure:
    """`PayloadTooLarge`, said before anything is scheduled."""
    message = (
        f"the input of {action_key(command)} has {size} bytes, at most {MAX_INPUT_BYTES} are allowed: "
        "keep large data in the store or in a file, and pass its key"
    )
    details = {"bytes": size, "limit": MAX_INPUT_BYTES}
    return Failure(ErrorCategory.PAYLOAD_TOO_LARGE, message, code="INPUT_TOO_LARGE", details=details)


def action_key(command: RunAction) -> str:
    """`id@version`."""
    return f"{command.call['action_id']}@{command.call['action_version']}"


def failure_of(error: FailureError | StepFailed) -> StepFailure:
    """The step's failure, from Temporal's or from ours."""
    return StepFailure(error.failure, recorded=False) if isinstance(error, StepFailed) else step_failure(error)


def call_body(command: RunAction, write: RunWrite | None) -> dict[str, Any]:
    """A call, and the write that travels with it if it is a regular activity's."""
    return {
        "step_path": command.step_path,
        "visit": 1,
        "definition_step_id": command.step_id,
        "name": command.name,
        "attempt": command.attempt,
        **command.call,
        "write": write,
    }


def call_input(command: RunAction, write: RunWrite, *, has_row: bool) -> RawValue:
    """Input of the activity that runs an action; `has_row` as for `wire.compact`."""
    call = cast(ActionCall, call_body(command, write))
    return encode(compact_call(call, workflow.info().workflow_id, has_row=has_row))


def write_input(write: RunWrite, *, has_row: bool) -> RawValue:
    """Input of the activities that only write."""
    return encode(compact_write(write, workflow.info().workflow_id, has_row=has_row))
