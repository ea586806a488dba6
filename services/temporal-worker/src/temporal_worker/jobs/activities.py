"""Activities of the generic job workflow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from loguru import logger
from temporalio import activity

from temporal_worker.jobs.handlers import JobContext, JobHandlers
from temporal_worker.jobs.records import JobRecords
from temporal_worker.names import (
    CREATE_JOB_DETAIL,
    EXECUTE_JOB_HANDLER,
    UPDATE_JOB_STATUS,
)

_HEARTBEAT_SECONDS: Final = 15.0
_HANDLER_SHARE: Final = 0.95
"""Of the activity's limit: a handler is ended before Temporal gives the attempt up and starts another beside it."""


class JobActivities:
    """The activities with what they need.

    Args:
        handlers: Job name to code.
        records: Where the state of jobs is kept.
    """

    def __init__(self, handlers: JobHandlers, records: JobRecords) -> None:
        self._handlers = handlers
        self._records = records

    def all(self) -> list[Callable[..., Any]]:
        """The callables to register with a worker."""
        return [self.update_job_status, self.create_job_detail, self.execute_job_handler]

    @activity.defn(name=UPDATE_JOB_STATUS)
    async def update_job_status(self, argument: dict[str, Any]) -> bool:
        """`{tenantId, jobId, jobName, status, metadata}`; False where no records are kept."""
        return await self._records.set_status(
            argument["tenantId"],
            argument["jobId"],
            argument["jobName"],
            argument["status"],
            argument.get("metadata") or {},
        )

    @activity.defn(name=CREATE_JOB_DETAIL)
    async def create_job_detail(self, argument: dict[str, Any]) -> bool:
        """`{tenantId, jobId, stepName, status, result}`; False where no records are kept."""
        return await self._records.add_detail(
            argument["tenantId"],
            argument["jobId"],
            activity.info().workflow_run_id or "",
            argument["stepName"],
            argument["status"],
            argument.get("result"),
        )

    @activity.defn(name=EXECUTE_JOB_HANDLER)
    async def execute_job_handler(self, argument: dict[str, Any]) -> dict[str, Any]:
        """Run the handler of `{jobId, jobName, tenantId, data}`.

        Returns:
            `{success: true, result}`, or `{success: false, error}`: a handler that failed, took too long, or gave what
            is no JSON is not started again, since nobody knows how far it got. Only a lost worker is retried, by the
            activity's retry policy.
        """
        name, tenant = argument["jobName"], argument["tenantId"]
        handler = self._handlers.get(name)
        if handler is None:
            known = ", ".join(self._handlers.names()) or "none"
            return {"success": False, "error": f"no handler is registered for job {name!r}; registered: {known}"}
        if await self._is_suspended(tenant):
            return {"success": True, "result": {"skipped": True, "reason": "tenant_suspended"}}
        context = JobContext(argument["jobId"], name, tenant, argument.get("data"), activity.info().attempt)
        seconds = _handler_seconds()
        limit = asyncio.timeout(seconds)
        try:
            with _heartbeats(), logger.contextualize(job_id=context.job_id, job_name=name, tenant=tenant):
                async with limit:
                    result = await handler(context)
            outcome = {"success": True, "result": result}
            # One that cannot be sent would fail the activity behind our back, and that is retried.
            activity.payload_converter().to_payloads([outcome])
        except Exception as error:
            logger.bind(event="job_handler_failed", job_id=context.job_id, job_name=name, tenant=tenant).opt(
                exception=error
            ).error("the handler of job {} failed", name)
            late = limit.expired()
            said = f"the handler did not end within {seconds:g} s" if late else f"{type(error).__name__}: {error}"
            return {"success": False, "error": said}
        return outcome

    async def _is_suspended(self, tenant: str) -> bool:
        try:
            return await self._records.is_suspended(tenant)
        except Exception as error:  # a database that is gone must not stop the jobs of everybody
            logger.bind(event="suspension_unknown", tenant=tenant).warning(
                "cannot tell whether tenant {} is suspended, its job runs: {}",
                tenant,
                str(error) or type(error).__name__,
            )
            return False


def _handler_seconds() -> float | None:
    limit = activity.info().start_to_close_timeout
    return None if limit is None else limit.total_seconds() * _HANDLER_SHARE


@contextmanager
def _heartbeats() -> Iterator[None]:
    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    beating = asyncio.ensure_future(beat())
    try:
        yield
    finally:
        beating.cancel()
