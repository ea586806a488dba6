"""`workflow-server run | check | describe`."""

from __future__ import annotations

import socket
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
from service_host.logs import log_event
from service_host.metrics import PollerMetrics
from service_host.ownership_probe import OwnershipProbe
from service_host.pollers import ListedPollers, PollerKind
from service_host.postgres import wait_for_postgres
from service_host.process import Process, run_process
from service_host.progress import Loop, Progress, RestartBudget, StopStage
from service_host.serving import bind, serving_loop
from service_host.temporal import connect_temporal, identity_of
from service_host.worker_loop import OnFatalError, worker_loop
from service_host.worker_options import worker_options
from workflow_server.api.application import StartingApi, create_api
from workflow_server.composition import GRACE_SECONDS, build_runtime, build_services, contents, worker_limits
from workflow_server.metrics import TokenMetrics
from workflow_server.settings import Settings, read_listening, read_settings
from workflows_bootstrap.services import ApplicationServices
from workflows_core.actions.action import Place
from workflows_core.execution.worker import application_worker
from workflows_core.launching.launcher import Launcher
from workflows_core.launching.polled import HeartbeatProbe
from workflows_core.launching.readiness import SearchAttributesCheck
from workflows_core.log_context import log_context
from workflows_core.runtime import AuthoredRuntime
from workflows_core.storage.announcing import BEAT_SECONDS, LEAVE_SECONDS, keep_announced
from workflows_core.storage.database import Database
from workflows_core.storage.processes import Announcement
from workflows_core.storage.readiness import schema_verdict
from workflows_core.wire.names import APPLICATION_ACTIONS_QUEUE

SERVICE = "workflow-server"
API_LISTENING = "api_listening"
_FIND_TOKEN = "workflow_api_token(bytea)"  # noqa: S105 - the name of a function
"""What every request needs, and a login of another service may not call."""

API_STOP_SECONDS = 12.0
"""How long the API may take to stop after SIGTERM; requests in flight have two seconds less."""


def main() -> None:
    """Entry point of the console script."""
    leave(execute(command()))


def command() -> ServiceCommand[Settings]:
    """The service as its command line sees it."""
    return ServiceCommand(
        service=SERVICE,
        purpose="The application: HTTP API, and executor of actions that need the application.",
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
    listener = bind(settings.api_address)
    services = build_services(settings)

    async def start_up(process: Process) -> None:
        await _start(process, settings, services, listener)

    try:
        return await run_process(
            SERVICE,
            settings,
            health_settings=settings,
            log_settings=settings,
            queues=(APPLICATION_ACTIONS_QUEUE,),
            contents=contents(),
            start_up=start_up,
            log_context=log_context,
        )
    finally:
        await services.close()
        listener.close()


async def _start(process: Process, settings: Settings, services: ApplicationServices, listener: socket.socket) -> None:
    api = StartingApi()
    process.supervisor.add(
        serving_loop(
            "http-api", api, listener, stage=StopStage.CLAIM, on_serving=_tell_api, stop_seconds=API_STOP_SECONDS
        )
    )
    runtime = build_runtime(settings, services, process.identity)
    await wait_for_postgres(runtime.db.engine, on_wait=process.supervisor.waiting)
    client = await connect_temporal(
        settings, process.identity, runtime=process.runtime, on_wait=process.supervisor.waiting
    )
    process.health.add_check("database:schema", lambda: schema_verdict(runtime.db, _FIND_TOKEN))

    def make_worker(on_fatal_error: OnFatalError) -> Worker:
        options = worker_options(settings, version(SERVICE))
        return application_worker(client, runtime.activities, worker_limits(settings), on_fatal_error, **options)

    launcher = Launcher(runtime.db, client, prober=HeartbeatProbe(runtime.db, ListedPollers(client)))
    api.application = create_api(runtime.db, launcher, version=version(SERVICE))
    process.health.add_check("temporal:search-attributes", SearchAttributesCheck(client))
    queue = APPLICATION_ACTIONS_QUEUE
    process.supervisor.add(worker_loop(f"temporal:{queue}", client, make_worker, grace_seconds=GRACE_SECONDS))
    probe = OwnershipProbe(client, SERVICE, process.identity, (queue,), (PollerKind.ACTIVITY,))
    process.health.add_check(f"poller:{queue}", probe.check_of(queue))
    process.health.add_check("ownership", probe.intruders)
    process.registry.register(PollerMetrics(probe.views))
    process.registry.register(TokenMetrics(services))
    process.supervisor.add(probe.loop())
    process.supervisor.add(_beat_loop(runtime, process.identity))


def _tell_api(url: str) -> None:
    log_event(API_LISTENING, f"the HTTP API is served at {url}/v1", url=url)


def _beat_loop(runtime: AuthoredRuntime, identity: str) -> Loop:
    actions = runtime.registry.announced(Place.APP)
    announcement = Announcement(identity, SERVICE, version(SERVICE), [APPLICATION_ACTIONS_QUEUE], actions)

    async def beat(progress: Progress) -> None:
        await keep_announced(runtime.db, announcement, progress)

    return Loop(
        "heartbeat",
        beat,
        stage=StopStage.RECORD,
        restarts=RestartBudget(restarts=None),
        turns_within=4 * BEAT_SECONDS,
        stop_within=LEAVE_SECONDS,
    )


async def check(settings: Settings) -> Sequence[Verdict]:
    """Verdicts of `workflow-server check`."""
    identity = identity_of(SERVICE)
    verdicts = [await check_temporal(settings, identity), await check_postgres(settings)]
    if verdicts[1].ok:
        verdicts.append(
            await check_database("schema", settings, lambda engine: schema_verdict(Database(engine), _FIND_TOKEN))
        )
    if verdicts[0].ok:
        verdicts.append(
            await check_namespace(
                "search attributes", settings, identity, lambda client: SearchAttributesCheck(client)()
            )
        )
    return verdicts
