"""What each queue carries, and the Worker object that serves it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any, Final

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import (
    SandboxedWorkflowRunner,
    SandboxRestrictions,
)

from service_host.command import Contents
from service_host.ownership import QueueOwnership
from service_host.worker_loop import OnFatalError
from temporal_worker.jobs.activities import JobActivities
from temporal_worker.names import (
    CREATE_JOB_DETAIL,
    EXECUTE_JOB_HANDLER,
    GENERIC_JOB_WORKFLOW,
    JOBS_QUEUE,
    READINESS_WORKFLOW,
    SERVICE,
    UPDATE_JOB_STATUS,
    readiness_activity,
)
from temporal_worker.workflows.generic_job import GenericJobWorkflow
from temporal_worker.workflows.readiness import ReadinessWorkflow

PASSED_THROUGH: Final = ("temporal_worker.names", "temporal_worker.workflows.job_state")
"""First-party modules that workflow modules may import, loaded once per process; a test refuses any other.

The workflow modules themselves are not here: they are loaded inside the sandbox, where what they import and call is
seen.
"""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Slots of one queue's worker.

    Attributes:
        workflow_tasks: Workflow tasks at once.
        activities: Activities at once.
        cached_runs: Workflow runs kept in memory between their tasks.
        grace_seconds: How long running activities may go on when the worker stops.
    """

    workflow_tasks: int = 10
    activities: int = 10
    cached_runs: int = 200
    grace_seconds: float = 25.0


@dataclass(frozen=True, slots=True)
class QueueContents:
    """What one queue's worker registers."""

    workflows: Sequence[type]
    activities: Sequence[Callable[..., Any]]


def sandbox_restrictions() -> SandboxRestrictions:
    """What workflow code may load and call: see `PASSED_THROUGH`; time, random, files and network stay caught."""
    return SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH)


def workflow_runner() -> SandboxedWorkflowRunner:
    """The sandbox of all workflows of this service."""
    return SandboxedWorkflowRunner(restrictions=sandbox_restrictions())


def contents_of(queue: str, identity: str, jobs: JobActivities) -> QueueContents:
    """The workflows and activities of one queue, and of that queue only."""
    readiness = _readiness_of(queue, identity)
    if queue == JOBS_QUEUE:
        return QueueContents((ReadinessWorkflow, GenericJobWorkflow), (readiness, *jobs.all()))
    return QueueContents((ReadinessWorkflow,), (readiness,))


def registered_names(queues: Sequence[str]) -> Contents:
    """Names of everything the given queues carry, for `describe` and the banner."""
    workflows, activities = [READINESS_WORKFLOW], [readiness_activity(queue) for queue in queues]
    if JOBS_QUEUE in queues:
        workflows.append(GENERIC_JOB_WORKFLOW)
        activities += [UPDATE_JOB_STATUS, CREATE_JOB_DETAIL, EXECUTE_JOB_HANDLER]
    return Contents(workflows=workflows, activities=activities)


def make_worker(
    client: Client,
    queue: str,
    contents: QueueContents,
    limits: WorkerLimits,
    on_fatal_error: OnFatalError | None = None,
    **options: Any,
) -> Worker:
    """A new worker of one queue; its identity is the client's, `options` are the SDK's own.

    Raises:
        StartRefused: Code QUEUE_NOT_OWNED: no worker of this service exists for another service's queue.
    """
    QueueOwnership.load().check(SERVICE, [queue])
    return Worker(
        client,
        task_queue=queue,
        workflows=contents.workflows,
        activities=contents.activities,
        workflow_runner=workflow_runner(),
        max_concurrent_workflow_tasks=limits.workflow_tasks,
        max_concurrent_activities=limits.activities,
        max_cached_workflows=limits.cached_runs,
        graceful_shutdown_timeout=timedelta(seconds=limits.grace_seconds),
        on_fatal_error=on_fatal_error,
        **options,
    )


def _readiness_of(queue: str, identity: str) -> Callable[[str | None], Awaitable[dict[str, Any]]]:
    async def readiness(message: str | None = None) -> dict[str, Any]:
        return {
            "queue": queue,
            "identity": identity,
            "service": SERVICE,
            "version": version(SERVICE),
            "message": message,
        }

    return activity.defn(name=readiness_activity(queue))(readiness)
