"""temporal-worker as a process: one worker per queue over one connection, side by side under the supervisor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker

from service_host.command import Verdict, check_postgres, check_temporal
from service_host.metrics import PollerMetrics
from service_host.ownership_probe import OwnershipProbe
from service_host.postgres import create_engine, postgres_check
from service_host.process import Process, run_process
from service_host.temporal import connect_temporal, identity_of
from service_host.worker_loop import OnFatalError, worker_loop
from service_host.worker_options import worker_options
from temporal_worker.heartbeat import Heartbeat, ProcessRow
from temporal_worker.jobs.activities import JobActivities
from temporal_worker.jobs.handlers import JobHandlers, built_in_handlers
from temporal_worker.jobs.records import PostgresJobRecords
from temporal_worker.names import SERVICE
from temporal_worker.schedules import Schedules, read_schedules, schedules_loop
from temporal_worker.settings import Settings
from temporal_worker.workers import (
    QueueContents,
    WorkerLimits,
    contents_of,
    make_worker,
    registered_names,
)


async def run(settings: Settings, handlers: JobHandlers | None = None) -> int:
    """Run until told to stop; returns the exit code.

    Args:
        settings: See `settings.load`.
        handlers: Job handlers; the built-in ones if not given.

    Raises:
        StartRefused: A queue that is not ours, a health port that is taken, a file of schedules that is wrong.
    """
    schedules = read_schedules(settings.schedules_file, settings.task_queues)
    return await run_process(
        SERVICE,
        settings,
        health_settings=settings,
        log_settings=settings,
        queues=settings.task_queues,
        contents=registered_names(settings.task_queues),
        start_up=partial(_start_up, settings, handlers or JobHandlers.of(built_in_handlers()), schedules),
    )


async def check(settings: Settings) -> Sequence[Verdict]:
    """Whether Temporal and PostgreSQL answer.

    Raises:
        StartRefused: The file of schedules is wrong.
    """
    read_schedules(settings.schedules_file, settings.task_queues)
    return [await check_temporal(settings, identity_of(SERVICE)), await check_postgres(settings)]


async def _start_up(settings: Settings, handlers: JobHandlers, schedules: Schedules, process: Process) -> None:
    engine = create_engine(settings, application_name=process.identity, pool_size=5)
    process.health.add_check("postgres", postgres_check(engine))
    row = ProcessRow(
        identity=process.identity,
        service=SERVICE,
        version=version(SERVICE),
        build_id=settings.temporal_worker_build_id or version(SERVICE),
        namespace=settings.temporal_namespace,
        queues=settings.task_queues,
    )
    # Not awaited: domain workflows are served, and their queues answer, while the database is away.
    process.supervisor.add(Heartbeat(engine, row, lambda: process.supervisor.draining).loop())

    client = await connect_temporal(
        settings, process.identity, runtime=process.runtime, on_wait=process.supervisor.waiting
    )
    jobs = JobActivities(handlers, PostgresJobRecords(engine))
    limits = WorkerLimits(
        workflow_tasks=settings.max_concurrent_workflows,
        activities=settings.max_concurrent_activities,
        grace_seconds=settings.shutdown_grace_seconds,
    )
    probe = OwnershipProbe(client, SERVICE, process.identity, settings.task_queues)
    for queue in settings.task_queues:
        contents = contents_of(queue, process.identity, jobs)
        process.supervisor.add(
            worker_loop(
                f"temporal:{queue}",
                client,
                partial(_worker, client, queue, contents, limits, worker_options(settings, version(SERVICE))),
                grace_seconds=limits.grace_seconds,
            )
        )
        process.health.add_check(f"poller:{queue}", probe.check_of(queue))
    process.health.add_check("ownership", probe.intruders)
    process.registry.register(PollerMetrics(probe.views))
    process.supervisor.add(probe.loop())
    process.supervisor.add(schedules_loop(client, schedules))


def _worker(
    client: Client,
    queue: str,
    contents: QueueContents,
    limits: WorkerLimits,
    options: Mapping[str, Any],
    on_fatal_error: OnFatalError,
) -> Worker:
    return make_worker(client, queue, contents, limits, on_fatal_error, **options)
