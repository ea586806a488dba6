"""Builds the Temporal worker of the authored queue, and the replayer that must agree with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.worker import Replayer, Worker

from workflows_core.execution.activities import RunActivities
from workflows_core.execution.compiled_plans import DEFAULT_BYTES, PLANS
from workflows_core.execution.plans import use_plans
from workflows_core.execution.sandbox import workflow_runner
from workflows_core.execution.scheduled_launch import ScheduledLaunchWorkflow
from workflows_core.execution.workflow import RunWorkflow
from workflows_core.launching.launcher import Launcher
from workflows_core.wire.names import APPLICATION_ACTIONS_QUEUE, AUTHORED_QUEUE, RUN_WORKFLOW, SCHEDULED_LAUNCH_WORKFLOW

WORKFLOWS: Sequence[type] = (RunWorkflow, ScheduledLaunchWorkflow)
"""Every workflow class of the authored queue."""

WORKFLOW_NAMES = (RUN_WORKFLOW, SCHEDULED_LAUNCH_WORKFLOW)
"""What they are registered as, for banner and `describe`."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Slots of one process.

    Attributes:
        workflow_tasks: Workflow tasks at once; near the number of cores, since they compute.
        activities: Regular activities at once.
        local_activities: Local activities at once.
        cached_runs: Runs kept in memory between their tasks, about 76 KiB each and their state.
        plan_bytes: Memory, about, for compiled definitions that none of those runs uses.
        grace_seconds: How long running activities may go on when the worker stops.
    """

    workflow_tasks: int = 16
    activities: int = 100
    local_activities: int = 50
    cached_runs: int = 500
    plan_bytes: int = DEFAULT_BYTES
    grace_seconds: float = 20.0


def authored_worker(
    client: Client,
    activities: RunActivities,
    limits: WorkerLimits,
    on_fatal_error: Callable[[BaseException], Awaitable[None]] | None = None,
    **options: Any,
) -> Worker:
    """A worker for `workflow-runtime-v2`; its identity is the client's, `options` are the SDK's own."""
    PLANS.keep(limits.plan_bytes)
    use_plans(PLANS)
    return Worker(
        client,
        task_queue=AUTHORED_QUEUE,
        workflows=WORKFLOWS,
        activities=activities.authored(Launcher(activities.db, client)),
        workflow_runner=workflow_runner(),
        max_concurrent_workflow_tasks=limits.workflow_tasks,
        max_concurrent_activities=limits.activities,
        max_concurrent_local_activities=limits.local_activities,
        max_cached_workflows=limits.cached_runs,
        graceful_shutdown_timeout=timedelta(seconds=limits.grace_seconds),
        on_fatal_error=on_fatal_error,
        **options,
    )


def application_worker(
    client: Client,
    activities: RunActivities,
    limits: WorkerLimits,
    on_fatal_error: Callable[[BaseException], Awaitable[None]] | None = None,
    **options: Any,
) -> Worker:
    """A worker for `workflow-app-actions`: actions of authored runs that need the application, and no workflow."""
    return Worker(
        client,
        task_queue=APPLICATION_ACTIONS_QUEUE,
        activities=activities.application(),
        max_concurrent_activities=limits.activities,
        graceful_shutdown_timeout=timedelta(seconds=limits.grace_seconds),
        on_fatal_error=on_fatal_error,
        **options,
    )


def authored_replayer(**options: Any) -> Replayer:
    """A replayer with the worker's own workflows and sandbox."""
    use_plans(PLANS)
    return Replayer(workflows=WORKFLOWS, workflow_runner=workflow_runner(), **options)
