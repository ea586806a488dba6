"""Job handlers and the values of the generic job workflow."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from temporal_worker.jobs.activities import JobActivities
from temporal_worker.jobs.handlers import JobContext, JobHandlers, built_in_handlers
from temporal_worker.workflows.job_state import JobRequest, JobState

ARGUMENT = {"jobId": "j1", "jobName": "double", "tenantId": "t1", "data": 21}


class Records:
    """Job records whose answers the test decides."""

    def __init__(self, *, suspended: bool = False, broken: bool = False) -> None:
        self._suspended = suspended
        self._broken = broken

    async def set_status(
        self, tenant: str, job_id: str, job_name: str, status: str, metadata: Mapping[str, Any]
    ) -> bool:
        return False

    async def add_detail(
        self, tenant: str, job_id: str, execution: str, step_name: str, status: str, result: Any
    ) -> bool:
        return False

    async def is_suspended(self, tenant: str) -> bool:
        if self._broken:
            raise ConnectionError("database away")
        return self._suspended and tenant == "t1"


async def double(context: JobContext) -> Any:
    return context.data * 2


async def execute(handlers: JobHandlers, records: Records, **changed: Any) -> dict[str, Any]:
    activities = JobActivities(handlers, records)
    return await ActivityEnvironment().run(activities.execute_job_handler, {**ARGUMENT, **changed})


HANDLERS = JobHandlers.of({"double": double}, built_in_handlers())


@pytest.mark.asyncio
async def test_the_registered_handler_runs() -> None:
    assert await execute(HANDLERS, Records()) == {"success": True, "result": 42}
    assert (await execute(HANDLERS, Records(), jobName="echo"))["result"] == 21


@pytest.mark.asyncio
async def test_a_missing_handler_is_a_failure_that_names_the_registered_ones() -> None:
    outcome = await execute(HANDLERS, Records(), jobName="triple")
    assert outcome == {"success": False, "error": "no handler is registered for job 'triple'; registered: double, echo"}


@pytest.mark.asyncio
async def test_an_error_of_a_handler_is_returned_and_so_not_retried() -> None:
    outcome = await execute(HANDLERS, Records(), data=None)
    assert outcome["success"] is False
    assert outcome["error"].startswith("TypeError: ")


@pytest.mark.asyncio
async def test_a_handler_that_does_not_end_is_ended_before_another_one_begins_beside_it() -> None:
    ended = asyncio.Event()

    async def waits(context: JobContext) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    environment = ActivityEnvironment()
    environment.info = replace(environment.info, start_to_close_timeout=timedelta(seconds=0.1))
    activities = JobActivities(JobHandlers.of({"waits": waits}), Records())
    outcome = await environment.run(activities.execute_job_handler, {**ARGUMENT, "jobName": "waits"})
    assert outcome == {"success": False, "error": "the handler did not end within 0.095 s"}
    assert ended.is_set()


@pytest.mark.asyncio
async def test_a_time_out_of_the_handler_s_own_is_an_error_like_any_other() -> None:
    async def waits(context: JobContext) -> Any:
        raise TimeoutError("the mail server")

    outcome = await execute(JobHandlers.of({"double": waits}), Records())
    assert outcome == {"success": False, "error": "TimeoutError: the mail server"}


@pytest.mark.asyncio
async def test_a_suspended_tenants_job_is_skipped_and_nobody_elses() -> None:
    skipped = {"skipped": True, "reason": "tenant_suspended"}
    assert await execute(HANDLERS, Records(suspended=True)) == {"success": True, "result": skipped}
    assert (await execute(HANDLERS, Records(suspended=True), tenantId="t2"))["result"] == 42


@pytest.mark.asyncio
async def test_a_job_runs_when_nobody_can_tell_whether_its_tenant_is_suspended() -> None:
    assert (await execute(HANDLERS, Records(broken=True)))["result"] == 42


def test_two_handlers_of_one_name_are_refused_with_both_origins() -> None:
    async def other(context: JobContext) -> None:
        """Another one."""

    with pytest.raises(ValueError, match=r"'double'.*double.*other"):
        JobHandlers.of({"double": double}, {"double": other})


def test_the_table_is_frozen() -> None:
    table = {"double": double}
    handlers = JobHandlers.of(table)
    table.clear()
    assert handlers.names() == ("double",)


def test_a_request_crosses_the_wire_unchanged() -> None:
    assert JobRequest.from_json(ARGUMENT).to_json() == ARGUMENT
    assert JobRequest.from_json({**ARGUMENT, "later": 1}).to_json() == ARGUMENT


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ({}, "jobId, jobName, tenantId"),
        (None, "jobId, jobName, tenantId"),
        ({**ARGUMENT, "tenantId": ""}, "tenantId"),
        ({**ARGUMENT, "jobName": 5, "jobId": None}, "jobId, jobName"),
    ],
)
def test_a_malformed_request_names_every_wrong_field(value: Any, wrong: str) -> None:
    with pytest.raises(ApplicationError, match=f"missing or wrong: {wrong}$") as caught:
        JobRequest.from_json(value)
    assert (caught.value.type, caught.value.non_retryable) == ("GenericJobInputInvalid", True)


def test_the_state_shows_only_what_is_known() -> None:
    assert JobState().to_json() == {"step": "initializing", "progress": 0}
    assert JobState(error="why").at("failed", 20).to_json() == {"step": "failed", "progress": 20, "error": "why"}
