"""Puts the parts of a long-running process together, the same way for every service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry
from temporalio.runtime import Runtime

from service_host.banner import log_banner
from service_host.command import Contents
from service_host.health import Health, health_loop
from service_host.logs import configure_logs
from service_host.loop_lag import LoopLag
from service_host.metrics import LoopMetrics, new_registry
from service_host.ownership import QueueOwnership
from service_host.sdk_metrics import SdkMetrics
from service_host.serving import bind
from service_host.settings import HealthSettings, LogSettings, TemporalSettings
from service_host.supervisor import Supervisor
from service_host.temporal import identity_of, process_runtime


@dataclass(frozen=True, slots=True)
class Process:
    """What a service's start-up is given.

    Attributes:
        identity: `<service>@<host>:<pid>`.
        supervisor: Add loops here; `supervisor.waiting` says what start-up waits for.
        health: Add readiness parts here.
        registry: Register metrics here.
        runtime: For the one Temporal client.
    """

    service: str
    identity: str
    ownership: QueueOwnership
    supervisor: Supervisor
    health: Health
    registry: CollectorRegistry
    runtime: Runtime


async def run_process(
    service: str,
    settings: TemporalSettings,
    *,
    health_settings: HealthSettings,
    log_settings: LogSettings,
    queues: Sequence[str],
    contents: Contents,
    start_up: Callable[[Process], Awaitable[None]],
    log_context: Callable[[], Mapping[str, Any]] = dict,
    drain_seconds: float = 55.0,
) -> int:
    """Run a service until it is told to stop; health answers from the first moment on.

    Args:
        service: Name of the service.
        settings: Where Temporal is, for the banner.
        health_settings: Where to serve health.
        log_settings: How to log.
        queues: Queues this process will poll; checked against the ownership table.
        contents: What the banner lists.
        start_up: Connects and adds loops and readiness parts; see `Supervisor.run`.
        log_context: See `configure_logs`.
        drain_seconds: See `Supervisor`.

    Returns:
        The exit code.

    Raises:
        StartRefused: A queue that is not owned, or a health port that is taken.
    """
    ownership = QueueOwnership.load()
    ownership.check(service, queues)
    identity = identity_of(service)
    configure_logs(log_settings, service=service, identity=identity, about=log_context)
    listener = bind(health_settings.health_address)
    try:
        log_banner(service, identity, settings, queues, ownership, contents)
        supervisor = Supervisor(service, drain_seconds=drain_seconds)
        registry = new_registry()
        registry.register(LoopMetrics(service, supervisor.reports))
        sdk = SdkMetrics()
        runtime = process_runtime(sdk.buffer)
        lag = LoopLag(on_turn=sdk.drain)
        for collector in (sdk, lag):
            registry.register(collector)
        health = Health(supervisor, identity, registry, lag)
        supervisor.add(health_loop(health, listener))
        supervisor.add(lag.loop())
        process = Process(service, identity, ownership, supervisor, health, registry, runtime)

        async def started() -> None:
            await start_up(process)

        return await supervisor.run(started)
    finally:
        listener.close()
