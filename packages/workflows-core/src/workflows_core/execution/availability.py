"""Whether anybody serves an action, decided by what processes announce and never by how long a queue is.

A backlog is not absence: an action that somebody serves waits for as long as it takes. One that nobody serves fails
as `ActionUnavailable` after a stated time, so that a run does not stand still for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import FailureError
from temporalio.workflow import ActivityConfig

from workflows_core.actions.action import Place
from workflows_core.errors import ErrorCategory, Failure, StepFailed
from workflows_core.execution import options
from workflows_core.execution.failures import action_unavailable, step_failure
from workflows_core.execution.shielding import read
from workflows_core.wire.names import ACTIVITY_ACTION, ACTIVITY_FIND_ACTION
from workflows_core.wire.records import ActionTraits, FoundAction

DEFAULT_UNAVAILABLE_AFTER_MS = 60_000
"""Longer than a heartbeat row lives (45 s), so that a process that was killed has stopped to count by then."""

_FIRST_PAUSE_SECONDS = 2.0


async def wait_until_served(call: Mapping[str, Any], limit_ms: int, on_wait: Callable[[str], None]) -> ActionTraits:
    """Traits of an action that nobody served when the run was loaded, once somebody does.

    Args:
        call: Has `action_id` and `action_version`.
        limit_ms: How long to wait.
        on_wait: Told once, with a sentence for people, when there is something to wait for.

    Raises:
        StepFailed: `ActionUnavailable`, after the limit.
    """
    pause = _FIRST_PAUSE_SECONDS
    waited = 0.0
    while True:
        found = await _find(call)
        if found["traits"] is not None:
            return found["traits"]
        left = limit_ms / 1000 - waited
        if left <= 0:
            raise StepFailed(_unavailable(call, found, limit_ms))
        if not waited:
            on_wait(f"{_unavailable(call, found, 0).message}; the step waits {limit_ms / 1000:g} s for it, then fails")
        pause = min(pause, left)
        await workflow.sleep(timedelta(seconds=pause), summary=f"until {call['action_id']} is served")
        waited += pause
        pause *= 2


async def run_while_served(call: Mapping[str, Any], body: RawValue, config: ActivityConfig, limit_ms: int) -> RawValue:
    """Runs an action of the application, and asks every `limit_ms` whether anybody has served it there meanwhile.

    Raises:
        StepFailed: `ActionUnavailable`: nobody does. A call that a process had begun may have had its effect; an
            at-most-once action that is called again says so (`UnknownOutcome`).
        FailureError: The activity's own failure.
    """
    handle: workflow.ActivityHandle[RawValue]
    handle = workflow.start_activity(ACTIVITY_ACTION, body, result_type=RawValue, **config)
    waited = 0
    try:
        while not handle.done():
            await workflow.wait([handle], timeout=limit_ms / 1000)
            if not handle.done():
                waited += limit_ms
                found = await _find(call, Place.APP)
                if found["traits"] is None and not handle.done():
                    handle.cancel()
                    return await _answer_after_all(handle, _unavailable(call, found, waited, Place.APP))
        return await handle
    except asyncio.CancelledError:
        handle.cancel()
        return await handle


async def _answer_after_all(handle: Awaitable[RawValue], failure: Failure) -> RawValue:
    """The answer, when it came in the very moment in which the run gave up."""
    try:
        return await handle
    except FailureError as error:
        if step_failure(error).failure.category != ErrorCategory.CANCELLATION:
            raise
        raise StepFailed(failure) from error


async def _find(call: Mapping[str, Any], at: Place | None = None) -> FoundAction:
    wanted = {"id": call["action_id"], "version": call["action_version"], "at": at}
    found: FoundAction = await read(ACTIVITY_FIND_ACTION, wanted, options.for_find(call["action_id"]))
    return found


def _unavailable(
    call: Mapping[str, Any], found: FoundAction, waited_ms: int, called_at: Place | None = None
) -> Failure:
    return action_unavailable(call["action_id"], call["action_version"], found, waited_ms, called_at)
