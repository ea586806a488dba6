"""The workflow that a Temporal Schedule starts: it launches the run of one firing, and stays open until that ends."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue, SearchAttributeKey
from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows_core.execution import options
from workflows_core.execution.payloads import decode, encode
from workflows_core.wire import names

FIRST_LOOK = timedelta(minutes=1)
LONGEST_LOOK = timedelta(hours=1)
"""The run says when it ends, or who ends it in its place; what nobody could say is seen at the next look."""

LOOKS_OF_ONE_HISTORY = 200
"""After so many a launch begins anew: Temporal ends a history of 51,200 events, which is looks of seven months."""

PATCH_BEGINS_ANEW = "begins-anew"
"""Launches of builds before it went on in one history, and do so."""

PATCH_TOLD_WHILE_LOOKING = "told-while-looking"
"""Launches of builds before it forgot what they were told then, and waited for the next look."""

_SCHEDULED_FOR = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")


@workflow.defn(name=names.SCHEDULED_LAUNCH_WORKFLOW)
class ScheduledLaunchWorkflow:
    """One firing of a schedule; the overlap policy of the schedule goes by it."""

    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """`{outcome, runId, reason, status}`.

        Args:
            wanted: `{tenantId, scheduleId}`; of one that begins anew `runId` too.
        """
        scheduled_for = workflow.info().typed_search_attributes.get(_SCHEDULED_FOR) or workflow.info().start_time
        call = {
            "tenant": wanted["tenantId"],
            "scheduleId": wanted["scheduleId"],
            "scheduledFor": int(scheduled_for.timestamp() * 1000),
            "launchId": workflow.info().workflow_id,
        }
        firing = asyncio.create_task(self._fire(call, wanted.get("runId")))
        try:
            # A cancel does not cut it: nobody could cancel the run that it may have launched, or launches later.
            fired = await asyncio.shield(firing)
            if fired["outcome"] != "launched":
                return {**fired, "status": None}
            call["runId"] = fired["runId"]
            return {**fired, "status": await self._end_of_run(call, wanted)}
        except (asyncio.CancelledError, ActivityError) as error:
            if workflow.cancellation_reason() is None or not is_cancelled_exception(error):
                raise
            fired = await firing
            if fired["outcome"] == "launched":
                body = {"tenant": call["tenant"], "childRunId": fired["runId"], "reason": "its schedule fires anew"}
                await asyncio.shield(self._do(names.ACTIVITY_CANCEL_CHILD, body, "cancel the run"))
            raise

    @workflow.signal(name=names.SIGNAL_RUN_ENDED)
    def on_run_ended(self, *_: Any) -> None:
        """The run of this firing has ended."""
        self._told = True

    async def _fire(self, call: dict[str, Any], run_id: str | None) -> dict[str, Any]:
        if run_id is not None:
            return {"outcome": "launched", "runId": run_id, "reason": None}
        fired: dict[str, Any] = await self._do(names.ACTIVITY_FIRE_SCHEDULE, call, "fire")
        return fired

    async def _end_of_run(self, call: dict[str, Any], wanted: dict[str, Any]) -> str:
        pause = FIRST_LOOK
        for looks in itertools.count(1):
            try:
                await workflow.wait_condition(lambda: self._told, timeout=pause)
            except TimeoutError:
                pause = min(pause * 2, LONGEST_LOOK)
            self._told = False
            status = await self._do(names.ACTIVITY_WATCH_SCHEDULED_RUN, call, "has the run ended?")
            if status is not None:
                return str(status)
            # Told while it looked, which may have been too early: it looks again at once.
            if self._told and not workflow.patched(PATCH_TOLD_WHILE_LOOKING):
                self._told = False
            if looks >= LOOKS_OF_ONE_HISTORY and not self._told and workflow.patched(PATCH_BEGINS_ANEW):
                workflow.continue_as_new({**wanted, "runId": call["runId"]})
        raise AssertionError("counting never ends")

    async def _do(self, activity: str, body: dict[str, Any], summary: str) -> Any:
        config = options.for_write(body["tenant"], summary)
        return decode(await workflow.execute_activity(activity, encode(body), result_type=RawValue, **config))
