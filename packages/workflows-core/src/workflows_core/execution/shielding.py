"""What a cancel does not cut, what is taken before it, and what one tells that it does cut."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import FailureError, is_cancelled_exception
from temporalio.workflow import LocalActivityConfig

from workflows_core.execution.payloads import decode, encode

PATCH_CANCELLED_WHILE_READING = "cancelled-while-reading"
"""Executions of builds before it took a cancel that cut a reading for the failure of what was read, and do so."""

PATCH_ANSWERS_BEFORE_A_CANCEL = "answers-before-a-cancel"
"""Executions of builds before it dropped the answers that had come in the workflow task of a cancel, and do so."""


async def answers_taken() -> None:
    """Lets all go on that has its answer already: an action that had succeeded when the cancel came is undone."""
    if workflow.patched(PATCH_ANSWERS_BEFORE_A_CANCEL):
        # Conditions are looked at when nothing else can go on.
        await workflow.wait_condition(lambda: True)


async def shielded(task: asyncio.Task[Any]) -> None:
    """Waits for a task's end; a cancel that comes after the run's end was decided changes nothing."""
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if workflow.cancellation_reason() is None:
                raise
    task.result()


async def read(activity: str, body: Any, config: LocalActivityConfig) -> Any:
    """What a local activity answers that only reads.

    Raises:
        asyncio.CancelledError: A cancel has cut it; Temporal tells one that was under way as a failure.
        FailureError: It has failed.
    """
    try:
        raw = await workflow.execute_local_activity(activity, encode(body), result_type=RawValue, **config)
    except FailureError as error:
        if is_cancelled_exception(error) and workflow.patched(PATCH_CANCELLED_WHILE_READING):
            raise asyncio.CancelledError from error
        raise
    return decode(raw)
