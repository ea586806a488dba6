"""The last that a run does, which no cancel cuts: it writes its end, and tells a scheduled launch that waits for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import FailureError

from workflows_core.errors import ErrorCategory, Failure
from workflows_core.execution import options
from workflows_core.execution.action_calls import write_input
from workflows_core.execution.failures import step_failure
from workflows_core.execution.shielding import shielded
from workflows_core.wire.names import ACTIVITY_FINISH, SIGNAL_RUN_ENDED
from workflows_core.wire.records import RunWrite

PATCH_RESET_UNDOES_NOTHING = "reset-undoes-nothing"
"""Executions of builds before it undid what the run's own execution had done, perhaps with success, and do so."""


def is_the_end(failure: Failure) -> bool:
    """Whether a step's failure ends this execution then and there: what it would undo is another execution's."""
    return failure.category == ErrorCategory.RUN_RESET and workflow.patched(PATCH_RESET_UNDOES_NOTHING)


async def write_end(write: RunWrite, *, has_row: bool) -> Failure | None:
    """Writes the end; answers why a run that was reset may not: its row is the first execution's."""
    config = options.for_write(write["tenant"], "write the end")
    body = write_input(write, has_row=has_row)
    work = workflow.execute_activity(ACTIVITY_FINISH, body, result_type=RawValue, **config)
    try:
        await shielded(asyncio.create_task(work))
    except FailureError as error:
        failure = step_failure(error).failure
        if failure.category != ErrorCategory.RUN_RESET:
            raise
        return failure
    return None


async def tell_scheduled_launch(launch: str, run_id: str) -> None:
    """Signals the launch, a Temporal workflow id, that its run has ended."""
    telling = workflow.get_external_workflow_handle(launch).signal(SIGNAL_RUN_ENDED, run_id)
    # It may have ended, by an operator's hand; and it looks for itself from time to time.
    with suppress(FailureError):
        await shielded(asyncio.create_task(telling))
