"""`workflow-worker run | check | describe`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from temporalio.worker import Worker

from service_host.command import (
    ServiceCommand,
    Verdict,
    check_database,
    check_namespace,
    check_postgres,
    check_temporal,
    execute,
)
from service_host.errors import together
from service_host.leaving import leave
from service_host.metrics import PollerMetrics
from service_host.ownership_probe import OwnershipProbe
from service_host.postgres import wait_for_postgres
from service_host.process import Process, run_process
from service_host.progress import Loop, StopStage
from service_host.temporal import connect_temporal, identity_of
from service_host.worker_loop import OnFatalError, worker_loop
from service_host.worker_options import worker_options
from workflow_worker.backlog import BacklogWatch
from workflow_worker.beat import beat_loop
from workflow_worker.composition import (
    GRACE_SECONDS,
    build_runtime,
    contents,
    ingress_policy,
    worker_limits,
)
from workflow_worker.settings import Settings, read_listening, read_settings
from workflows_core.execution.worker import authored_worker
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.ingress.loop import IngressLoop
from workflows_core.launching.launcher import Launcher, LaunchPolicy
from workflows_core.launching.queue import QueuedStarts
from workflows_core.launching.readiness import SearchAttributesCheck
from workflows_core.launching.reconciler import Reconciler
from workflows_core.launching.reminders import TaskReminders
from workflows_core.log_context import log_context
from workflows_core.schedules.temporal import ScheduleSync
from workflows_core.storage.database import Database
from workflows_core.storage.readiness import schema_verdict
from workflows_core.wire.names import AUTHORED_QUEUE

SERVICE = "workflow-worker"


def main() -> None:
    """Entry point of the console script."""
    leave(execute(command()))


def command() -> ServiceCommand[Settings]:
    """The service as its command line sees it."""
    return ServiceCommand(
        service=SERVICE,
        purpose="Executes authored runs and reads the event stream, in one process.",
        load_settings=load_settings,
        read_listening=read_listening,
        contents=contents,
        run=run,
        check=check,
    )


def load_settings() -> Settings:
    """The settings, when the packs they name can be loaded as well.

    Raises:
        StartRefused: Everything that is wrong with either.
    """
    return together(read_settings, contents)


async def run(settings: Settings) -> int:
    """Runs until told to stop; the exit code."""

    async def start_up(process: Process) -> None:
        await _start(process, settings)

    return await run_process(
        SERVICE,
        settings,
        health_settings=settings,
        log_settings=settings,
        queues=(AUTHORED_QUEUE,),
        contents=contents(),
        start_up=start_up,
        log_context=log_context,
    )


async def _start(process: Process, settings: Settings) -> None:
    runtime = build_runtime(settings, process.identity)
    await wait_for_postgres(runtime.db.engine, on_wait=process.supervisor.waiting)
    client = await connect_temporal(
        settings, process.identity, runtime=process.runtime, on_wait=process.supervisor.waiting
    )
    process.health.add_check("database:schema", lambda: schema_verdict(runtime.db))
    process.health.add_check("temporal:search-attributes", SearchAttributesCheck(client))

    activities = runtime.activities

    def make_worker(on_fatal_error: OnFatalError) -> Worker:
        options = worker_options(settings, version(SERVICE))
        return authored_worker(client, activities, worker_limits(settings), on_fatal_error, **options)

    # A run that an event starts begins in this very process, without a trip through the queue.
    launcher = Launcher(runtime.db, client, LaunchPolicy(eager_start=True))
    ingress = IngressLoop(runtime.db, launcher, JlensEngine(), ingress_policy(settings))
    process.supervisor.add(worker_loop(f"temporal:{AUTHORED_QUEUE}", client, make_worker, grace_seconds=GRACE_SECONDS))
    process.supervisor.add(Loop("event-ingress", ingress.run, stage=StopStage.CLAIM))
    # A launcher without eager start: what it finishes may be executed by any process.
    finishing = Launcher(runtime.db, client)
    process.supervisor.add(Loop("reconciler", Reconciler(runtime.db, client, finishing).run, stage=StopStage.CLAIM))
    process.supervisor.add(Loop("queued-starts", QueuedStarts(runtime.db, finishing).run, stage=StopStage.CLAIM))
    process.supervisor.add(Loop("schedules", ScheduleSync(runtime.db, client).run, stage=StopStage.CLAIM))
    process.supervisor.add(Loop("task-reminders", TaskReminders(runtime.db).run, stage=StopStage.CLAIM))
    probe = OwnershipProbe(client, SERVICE, process.identity, (AUTHORED_QUEUE,))
    process.health.add_check(f"poller:{AUTHORED_QUEUE}", probe.check_of(AUTHORED_QUEUE))
    process.health.add_check("ownership", probe.intruders)
    process.registry.register(PollerMetrics(probe.views))
    process.supervisor.add(probe.loop())
    backlog = BacklogWatch(runtime.db)
    process.health.add_check("ingress:backlog", backlog.keeps_up)
    process.registry.register(backlog)
    process.supervisor.add(backlog.loop())
    process.supervisor.add(beat_loop(runtime, SERVICE, process.identity, activities.clock_lead.seconds))


async def check(settings: Settings) -> Sequence[Verdict]:
    """Verdicts of `workflow-worker check`."""
    identity = identity_of(SERVICE)
    verdicts = [await check_temporal(settings, identity), await check_postgres(settings)]
    if verdicts[1].ok:
        verdicts.append(await check_database("schema", settings, lambda engine: schema_verdict(Database(engine))))
    if verdicts[0].ok:
        verdicts.append(
            await check_namespace(
                "search attributes", settings, identity, lambda client: SearchAttributesCheck(client)()
            )
        )
    return verdicts
