"""The run's side of child runs: the activities that start and cancel one."""

from __future__ import annotations

from typing import Any

from temporalio import workflow
from temporalio.common import RawValue

from workflows_core.errors import ErrorCategory, Failure, StepFailed
from workflows_core.execution import options
from workflows_core.execution.payloads import encode, size_of
from workflows_core.interpreter.messages import CancelChild, LaunchChild
from workflows_core.interpreter.state import State
from workflows_core.wire.messages import RunInput
from workflows_core.wire.names import ACTIVITY_CANCEL_CHILD, ACTIVITY_LAUNCH_CHILD

MAX_SCHEDULED_BYTES = 2 * 1024 * 1024 - 1024
"""More cannot be scheduled; what a run may be given is less, and that the launch itself refuses."""


async def launch(parent: RunInput, generation: int, command: LaunchChild) -> None:
    """Starts the child run.

    Args:
        parent: The run that asks for it.
        generation: Of that run, which knows by it whether it was reset.
        command: What it asks for.

    Raises:
        FailureError: It was refused, or the run is being cancelled.
        StepFailed: `LAUNCH_INVALID`, before anything is scheduled.
    """
    body = {
        "tenant": parent.tenant_id,
        "parentRunId": parent.run_id,
        "generation": generation,
        "childRunId": command.child_run_id,
        "workflowId": command.workflow_id,
        "workflowVersion": command.workflow_version,
        "payload": command.payload,
    }
    size = size_of(encode(body))
    if size > MAX_SCHEDULED_BYTES:
        message = (
            f"the child was not started: its payload has {size} bytes, far more than a run may be given:"
            " keep large values outside and pass their name"
        )
        raise StepFailed(Failure(ErrorCategory.CHILD_WORKFLOW, message, code="LAUNCH_INVALID"))
    await _run(ACTIVITY_LAUNCH_CHILD, parent, f"{command.step_id}: start {command.workflow_id}", body)


def open_children(state: State) -> list[CancelChild]:
    """The cancels of all child runs that the run has started, or was about to start, and that have not ended."""
    open_calls = [(frame, pending.progress) for frame, pending in state.pending("launch", "event")]
    return [CancelChild(progress["childRunId"], frame.step_path) for frame, progress in open_calls if progress]


async def cancel(parent: RunInput, command: CancelChild) -> None:
    """Cancels the child run, which nobody waits for any more."""
    reason = f"run {parent.run_id} does not need it any more ({command.step_path})"
    body = {"tenant": parent.tenant_id, "childRunId": command.child_run_id, "reason": reason}
    await _run(ACTIVITY_CANCEL_CHILD, parent, f"cancel child {command.child_run_id}", body)


async def _run(activity: str, parent: RunInput, summary: str, body: dict[str, Any]) -> None:
    config = options.for_child(parent.tenant_id, summary)
    await workflow.execute_activity(activity, encode(body), result_type=RawValue, **config)
