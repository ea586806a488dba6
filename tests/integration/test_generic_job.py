"""The generic job workflow on a real Temporal server: its states, its signals, its failures."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import Worker

from temporal_worker.jobs.activities import JobActivities
from temporal_worker.jobs.handlers import JobContext, JobHandlers, built_in_handlers
from temporal_worker.names import JOBS_QUEUE
from temporal_worker.workers import WorkerLimits, contents_of, make_worker

pytestmark = pytest.mark.asyncio
CANCEL_REQUESTED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED


class Recorded:
    """Job records in memory; or none at all, as when the database is away."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.statuses: list[tuple[str, str]] = []
        self.details: list[tuple[str, str, Any]] = []

    async def set_status(
        self, tenant: str, job_id: str, job_name: str, status: str, metadata: Mapping[str, Any]
    ) -> bool:
        self._check()
        self.statuses.append((job_id, status))
        return True

    async def add_detail(
        self, tenant: str, job_id: str, execution: str, step_name: str, status: str, result: Any
    ) -> bool:
        self._check()
        self.details.append((job_id, step_name, result))
        return True

    async def is_suspended(self, tenant: str) -> bool:
        self._check()
        return False

    def _check(self) -> None:
        if self.broken:
            raise ConnectionError("database away")


class AwayAtTheEnd(Recorded):
    """Records that are away when the end of a job is to be written."""

    def __init__(self) -> None:
        super().__init__()
        self.away = True
        self.asked = asyncio.Event()

    async def set_status(
        self, tenant: str, job_id: str, job_name: str, status: str, metadata: Mapping[str, Any]
    ) -> bool:
        if status != "processing":
            self.asked.set()
            if self.away:
                raise ConnectionError("database away")
        return await super().set_status(tenant, job_id, job_name, status, metadata)


class SlowAtTheBeginning(Recorded):
    """Records that take long when the beginning of a job is to be written."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.ended = asyncio.Event()

    async def set_status(
        self, tenant: str, job_id: str, job_name: str, status: str, metadata: Mapping[str, Any]
    ) -> bool:
        if status == "processing":
            self.asked.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), 0.5)
        else:
            self.ended.set()
        return await super().set_status(tenant, job_id, job_name, status, metadata)


class Gate:
    """A handler that waits until it is let through."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, context: JobContext) -> Any:
        self.reached.set()
        await self.open.wait()
        return "through"


async def fails(context: JobContext) -> Any:
    raise LookupError("no such invoice")


@asynccontextmanager
async def jobs(client: Client, records: Recorded, **handlers: Any) -> AsyncIterator[Worker]:
    table = JobHandlers.of(built_in_handlers(), {"fails": fails}, handlers)
    contents = contents_of(JOBS_QUEUE, client.identity, JobActivities(table, records))
    async with make_worker(client, JOBS_QUEUE, contents, WorkerLimits(grace_seconds=0)) as worker:
        yield worker


async def start(client: Client, name: str, data: Any = None) -> WorkflowHandle[Any, Any]:
    job_id = secrets.token_hex(6)
    job = {"jobId": job_id, "jobName": name, "tenantId": "t1", "data": data}
    return await client.start_workflow("genericJobWorkflow", job, id=f"job-{name}-{job_id}", task_queue=JOBS_QUEUE)


async def failure_of(handle: WorkflowHandle[Any, Any]) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


async def test_a_job_that_succeeds(client: Client) -> None:
    records = Recorded()
    async with jobs(client, records):
        handle = await start(client, "echo", {"n": 1})
        result = await handle.result()
        state = await handle.query("getJobState")
    job_id = result["jobId"]
    assert (result["success"], result["result"]) == (True, {"n": 1})
    assert (state["step"], state["progress"], state["completedAt"]) == ("completed", 100, result["completedAt"])
    assert "startedAt" in state
    assert records.statuses == [(job_id, "processing"), (job_id, "completed")]
    assert records.details == [(job_id, "execution_started", None), (job_id, "execution_completed", {"n": 1})]


async def test_a_job_that_fails_makes_its_workflow_fail(client: Client) -> None:
    records = Recorded()
    async with jobs(client, records):
        handle = await start(client, "fails")
        failure = await failure_of(handle)
        state = await handle.query("getJobState")
        missing = await failure_of(await start(client, "unknown"))
    assert (failure.type, failure.non_retryable) == ("GenericJobFailure", True)
    assert failure.message == "LookupError: no such invoice"
    assert (state["step"], state["progress"], state["error"]) == ("failed", 20, "LookupError: no such invoice")
    assert [status for _, status in records.statuses[:2]] == ["processing", "failed"]
    assert records.details[1][1:] == ("execution_failed", {"error": "LookupError: no such invoice"})
    assert "no handler is registered for job 'unknown'" in missing.message


async def test_progress_comes_from_outside_and_a_cancel_signal_counts_between_steps(client: Client) -> None:
    records, gate = Recorded(), Gate()
    async with jobs(client, records, gate=gate):
        handle = await start(client, "gate")
        await gate.reached.wait()
        assert (await handle.query("getJobState"))["step"] == "executing"
        await handle.signal("updateProgress", {"progress": 55, "message": "halfway"})
        state = await handle.query("getJobState")
        assert (state["progress"], state["message"]) == (55, "halfway")
        await handle.signal("cancelJob", {"reason": "not needed", "cancelledBy": "me"})
        gate.open.set()
        failure = await failure_of(handle)
    assert (failure.type, failure.message) == ("GenericJobFailure", "the job was cancelled by me: not needed")
    assert [status for _, status in records.statuses] == ["processing", "failed"]


@pytest.mark.parametrize("beside", [[], ["beside"]])
async def test_signals_that_hold_nothing_or_too_much_stop_no_job(client: Client, beside: list[str]) -> None:
    gate = Gate()
    async with jobs(client, Recorded(), gate=gate):
        handle = await start(client, "gate")
        await gate.reached.wait()
        await handle.signal("updateProgress", args=beside)
        await handle.signal("updateProgress", args=[{"progress": 55}, *beside])
        await handle.signal("cancelJob", "not an object")
        assert (await handle.query("getJobState"))["progress"] == 55
        await handle.signal("cancelJob", args=[{}, *beside] if beside else [])
        gate.open.set()
        failure = await failure_of(handle)
    assert failure.message == "the job was cancelled: no reason given"


@pytest.mark.parametrize("given", [[], ["text"], [{}, {}]])
async def test_a_job_that_is_started_with_nothing_or_too_much_is_refused(client: Client, given: list[Any]) -> None:
    async with jobs(client, Recorded()):
        handle = await client.start_workflow(
            "genericJobWorkflow", args=given, id=f"job-{secrets.token_hex(6)}", task_queue=JOBS_QUEUE
        )
        assert (await failure_of(handle)).type == "GenericJobInputInvalid"


async def test_a_cancel_from_temporal_is_recorded_and_stays_a_cancel(client: Client) -> None:
    records, gate = Recorded(), Gate()
    async with jobs(client, records, gate=gate):
        handle = await start(client, "gate")
        await gate.reached.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        gate.open.set()
    assert isinstance(caught.value.cause, CancelledError)
    assert [status for _, status in records.statuses] == ["processing", "failed"]
    assert records.details[-1][1:] == ("execution_failed", {"error": "the workflow was cancelled"})


@pytest.mark.parametrize(("name", "status"), [("echo", "completed"), ("fails", "failed")])
async def test_a_cancel_that_comes_behind_the_handler_leaves_no_job_in_progress(
    client: Client, name: str, status: str
) -> None:
    """The record of the end was cut, and the job was in progress for ever."""
    records = AwayAtTheEnd()
    async with jobs(client, records):
        handle = await start(client, name)
        await records.asked.wait()
        await handle.cancel()
        while not any(event.event_type == CANCEL_REQUESTED for event in (await handle.fetch_history()).events):
            await asyncio.sleep(0.02)
        records.away = False
        if status == "completed":
            assert (await handle.result())["success"] is True
        else:
            assert (await failure_of(handle)).message == "LookupError: no such invoice"
    assert [found for _, found in records.statuses] == ["processing", status]


async def test_a_cancel_that_comes_before_the_handler_leaves_no_job_in_progress(client: Client) -> None:
    """The record of the beginning goes on when a cancel cuts the waiting for it, and came behind that of the end."""
    records = SlowAtTheBeginning()
    async with jobs(client, records):
        handle = await start(client, "echo")
        await records.asked.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        async with asyncio.timeout(10):
            while len(records.statuses) < 2:
                await asyncio.sleep(0.02)
    assert isinstance(caught.value.cause, CancelledError)
    assert [status for _, status in records.statuses] == ["processing", "failed"]


async def test_a_malformed_job_is_refused_with_every_wrong_field(client: Client) -> None:
    async with jobs(client, Recorded()):
        handle = await client.start_workflow(
            "genericJobWorkflow", {"jobId": 1}, id=f"job-{secrets.token_hex(6)}", task_queue=JOBS_QUEUE
        )
        failure = await failure_of(handle)
    assert failure.type == "GenericJobInputInvalid"
    assert failure.message.endswith("missing or wrong: jobId, jobName, tenantId")


async def test_a_record_that_cannot_be_written_blocks_no_job(client: Client) -> None:
    async with jobs(client, Recorded(broken=True)):
        handle = await start(client, "echo", 7)
        assert (await handle.result())["result"] == 7


async def test_a_handler_whose_result_is_no_json_runs_once_and_fails(client: Client) -> None:
    calls: list[str] = []

    async def gives(context: JobContext) -> Any:
        calls.append(context.job_id)
        return {"invoice": object()}

    async with jobs(client, Recorded(), gives=gives):
        failure = await failure_of(await start(client, "gives"))
    assert (failure.type, len(calls)) == ("GenericJobFailure", 1)
    assert "not JSON serializable" in failure.message
