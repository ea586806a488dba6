"""What each queue carries, and what its workflows may load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import SandboxImportNotificationPolicy

from service_host.ownership import QueueOwnership
from temporal_worker.jobs.activities import JobActivities
from temporal_worker.jobs.handlers import JobHandlers
from temporal_worker.jobs.records import PostgresJobRecords
from temporal_worker.workers import QueueContents, contents_of, registered_names, sandbox_restrictions
from temporal_worker.workflows.generic_job import GenericJobWorkflow
from temporal_worker.workflows.readiness import ReadinessWorkflow

QUEUES = QueueOwnership.load().queues_of("temporal-worker")
FORBIDDEN = ("workflows_core", "workflows_bootstrap", "workflows_cli", "workflow_server", "workflow_worker", "alembic")


def carried(queue: str) -> QueueContents:
    unused: PostgresJobRecords = PostgresJobRecords.__new__(PostgresJobRecords)
    return contents_of(queue, "me", JobActivities(JobHandlers.of(), unused))


def activity_names(contents: QueueContents) -> set[str]:
    names = {activity._Definition.must_from_callable(each).name for each in contents.activities}
    return {name for name in names if name is not None}


def workflow_names(contents: QueueContents) -> set[str]:
    names = {workflow._Definition.must_from_class(each).name for each in contents.workflows}
    return {name for name in names if name is not None}


def test_hole_42_every_queue_has_readiness_and_only_the_jobs_queue_has_jobs() -> None:
    for queue in QUEUES:
        contents = carried(queue)
        jobs = queue == "alga-jobs"
        assert workflow_names(contents) == {"readiness"} | ({"genericJobWorkflow"} if jobs else set())
        expected = {"updateJobStatus", "createJobDetail", "executeJobHandler"} if jobs else set()
        assert activity_names(contents) == {f"readiness:{queue}"} | expected


@pytest.mark.parametrize("queues", [QUEUES, ("sla-workflows",), ("alga-jobs",)])
def test_what_describe_lists_is_what_is_registered(queues: tuple[str, ...]) -> None:
    listed = registered_names(queues)
    assert set(listed.workflows) == set().union(*(workflow_names(carried(queue)) for queue in queues))
    assert set(listed.activities) == set().union(*(activity_names(carried(queue)) for queue in queues))


async def no_history() -> AsyncIterator[WorkflowHistory]:
    nothing: tuple[WorkflowHistory, ...] = ()
    for history in nothing:
        yield history


async def load_in_sandbox(restrictions: SandboxRestrictions) -> None:
    """Validate both workflows as a worker does, without a server."""
    replayer = Replayer(
        workflows=[ReadinessWorkflow, GenericJobWorkflow],
        workflow_runner=SandboxedWorkflowRunner(restrictions=restrictions),
    )
    await replayer.replay_workflows(no_history())


def strict(restrictions: SandboxRestrictions) -> SandboxRestrictions:
    return restrictions.with_import_notification_policy(
        SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
    )


@pytest.mark.asyncio
async def test_workflows_load_nothing_beyond_the_list() -> None:
    await load_in_sandbox(strict(sandbox_restrictions()))


@pytest.mark.asyncio
async def test_the_list_is_what_decides() -> None:
    with pytest.raises(RuntimeError, match="Failed validating workflow") as caught:
        await load_in_sandbox(strict(SandboxRestrictions.default.with_passthrough_modules("temporal_worker.names")))
    assert "job_state was not intentionally passed through" in str(caught.value.__cause__)


@pytest.mark.asyncio
async def test_workflow_modules_do_nothing_restricted_when_they_are_loaded() -> None:
    # Nothing of ours is passed through: every module is loaded anew, inside the sandbox.
    await load_in_sandbox(SandboxRestrictions.default)


def test_the_service_loads_neither_the_authored_runtime_nor_the_application() -> None:
    script = (
        "import sys, temporal_worker.main, temporal_worker.service;"
        f" print([name for name in {FORBIDDEN!r} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.strip() == "[]"
