"""The generic job workflow: runs one registered handler and keeps the job's record up to date.

A job that fails makes its workflow fail: a failure-shaped result would look like success to everyone who counts.
What is recorded about a job never stops the job: when the record cannot be written, a warning says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    is_cancelled_exception,
)

from temporal_worker.names import (
    CREATE_JOB_DETAIL,
    EXECUTE_JOB_HANDLER,
    GENERIC_JOB_WORKFLOW,
    JOB_FAILURE,
    UPDATE_JOB_STATUS,
)
from temporal_worker.workflows.job_state import JobRequest, JobState, Json

_RETRIES = RetryPolicy(
    maximum_attempts=3,
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2,
    maximum_interval=timedelta(seconds=30),
)
_HANDLER_TIMEOUT = timedelta(minutes=10)
_HANDLER_HEARTBEAT = timedelta(seconds=60)
# A database that is gone delays a job by this much per record and no longer.
_RECORD_ATTEMPT = timedelta(seconds=15)
_RECORD_ALTOGETHER = timedelta(seconds=45)

PATCH_BEGINNING_FIRST = "beginning-first"
"""Executions of builds before it went on to the end at a cancel while the beginning was being recorded, and do so."""


@workflow.defn(name=GENERIC_JOB_WORKFLOW)
class GenericJobWorkflow:
    """One job; `cancelJob` is looked at between steps, a running handler is not interrupted by it.

    What is left out, or sent beside the one argument, may fail no handler: each workflow task would fail from then on.
    """

    def __init__(self) -> None:
        self._state = JobState()
        self._cancel: Mapping[str, Json] | None = None

    @workflow.signal(name="cancelJob")
    def cancel_job(self, request: Any = None, *_: Any) -> None:
        """Ask the job to end before its next step: `{reason, cancelledBy?}`, or nothing at all."""
        if request is None or isinstance(request, Mapping):
            self._cancel = request or {}
        else:
            workflow.logger.warning("cancelJob with what is no object is ignored")

    @workflow.signal(name="updateProgress")
    def update_progress(self, update: Any = None, *_: Any) -> None:
        """Report progress from outside, such as from the handler: `{progress, message?}`."""
        given: Mapping[str, Json] = update if isinstance(update, Mapping) else {}
        progress = given.get("progress")
        if isinstance(progress, int | float) and not isinstance(progress, bool):
            self._state = replace(self._state, progress=progress, message=given.get("message", self._state.message))
        else:
            workflow.logger.warning("updateProgress without a number in 'progress' is ignored")

    @workflow.query(name="getJobState")
    def get_job_state(self) -> dict[str, Any]:
        """`{step, progress, message?, error?, startedAt?, completedAt?}`."""
        return self._state.to_json()

    @workflow.run
    async def run(self, job_input: Any = None, *_: Any) -> dict[str, Any]:
        """Run the job `{jobId, jobName, tenantId, data}`.

        Returns:
            `{success, jobId, result?, completedAt}`.

        Raises:
            ApplicationError: Type GenericJobFailure if the handler failed or the job was cancelled by signal.
        """
        job = JobRequest.from_json(job_input)
        self._state = replace(self._state.at("initializing", 10), started_at=_now())
        try:
            await self._record_beginning(job)
            self._state = self._state.at("executing", 20)
            self._refuse_if_cancelled()
            result = await self._execute(job)
            self._state = self._state.at("executing", 90)
            self._refuse_if_cancelled()
        except (ApplicationError, ActivityError, asyncio.CancelledError) as error:
            await self._failed(job, error)
            raise AssertionError("unreachable") from error
        self._state = replace(self._state.at("completed", 100), completed_at=_now())
        await _uncut(self._record(job, "completed", "execution_completed", result))
        answer = {"success": True, "jobId": job.job_id, "completedAt": self._state.completed_at}
        return answer if result is None else {**answer, "result": result}

    async def _execute(self, job: JobRequest) -> Json:
        outcome: dict[str, Any] = await workflow.execute_activity(
            EXECUTE_JOB_HANDLER,
            job.to_json(),
            start_to_close_timeout=_HANDLER_TIMEOUT,
            heartbeat_timeout=_HANDLER_HEARTBEAT,
            retry_policy=_RETRIES,
        )
        if not outcome.get("success"):
            raise _failure(str(outcome.get("error") or "the handler failed without a reason"))
        return outcome.get("result")

    async def _failed(self, job: JobRequest, error: BaseException) -> None:
        cancelled = is_cancelled_exception(error)
        cause = error.cause if isinstance(error, ActivityError) and error.cause is not None else error
        reason = "the workflow was cancelled" if cancelled else getattr(cause, "message", str(cause))
        self._state = replace(self._state, step="failed", error=reason, completed_at=_now())
        await _uncut(self._record(job, "failed", "execution_failed", {"error": reason}))
        if cancelled or (isinstance(error, ApplicationError) and error.type == JOB_FAILURE):
            raise error
        raise _failure(reason) from error

    def _refuse_if_cancelled(self) -> None:
        if self._cancel is not None:
            by = self._cancel.get("cancelledBy")
            who = f" by {by}" if by else ""
            raise _failure(f"the job was cancelled{who}: {self._cancel.get('reason') or 'no reason given'}")

    async def _record_beginning(self, job: JobRequest) -> None:
        """What a cancel cuts goes on all the same, and its record may come behind that of the end: so it is awaited."""
        record = asyncio.create_task(self._record(job, "processing", "execution_started", None))
        try:
            await asyncio.shield(record)
        except asyncio.CancelledError:
            # Eviction and shutdown cancel too; only a cancel that the server asked for has a reason.
            if workflow.cancellation_reason() is None:
                raise
            if not workflow.patched(PATCH_BEGINNING_FIRST):
                record.cancel()
            await workflow.wait([record])
            raise

    async def _record(self, job: JobRequest, status: str, step: str, result: Json) -> None:
        about = {"jobId": job.job_id, "jobName": job.job_name, "tenantId": job.tenant_id}
        metadata = {"error": result["error"]} if status == "failed" else {}
        await asyncio.gather(
            self._bookkeep(UPDATE_JOB_STATUS, {**about, "status": status, "metadata": metadata}),
            self._bookkeep(CREATE_JOB_DETAIL, {**about, "stepName": step, "status": status, "result": result}),
        )

    async def _bookkeep(self, activity: str, argument: dict[str, Json]) -> None:
        try:
            await workflow.execute_activity(
                activity,
                argument,
                start_to_close_timeout=_RECORD_ATTEMPT,
                schedule_to_close_timeout=_RECORD_ALTOGETHER,
                retry_policy=_RETRIES,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            workflow.logger.warning("%s failed, the job goes on: %s", activity, error.cause or error)


async def _uncut(last_record: Coroutine[Any, Any, None]) -> None:
    """Waits for the record of a job's end, which no cancel cuts: it would stay in progress for ever."""
    task = asyncio.create_task(last_record)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            # Eviction and shutdown cancel too; only a cancel that the server asked for has a reason.
            if workflow.cancellation_reason() is None:
                raise
    task.result()


def _failure(reason: str) -> ApplicationError:
    return ApplicationError(reason, type=JOB_FAILURE, non_retryable=True)


def _now() -> str:
    return workflow.now().isoformat()
