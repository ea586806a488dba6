"""A Temporal worker as a supervised loop: every life of the loop makes a new Worker object, since one is single use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from temporalio.client import Client
from temporalio.worker import Worker

from service_host.errors import Unreachable
from service_host.events import WORKER_FATAL
from service_host.logs import log_event
from service_host.progress import Loop, Progress, RestartBudget, StopStage
from service_host.reaching import until_reached
from service_host.temporal import ask_namespace

OnFatalError = Callable[[BaseException], Awaitable[None]]
WorkerFactory = Callable[[OnFatalError], Worker]

_STARTING_TURN_SECONDS: Final = 0.1
_TURN_SECONDS: Final = 5.0
_SHUTDOWN_ALLOWANCE_SECONDS: Final = 15.0


def worker_loop(
    name: str,
    client: Client,
    make_worker: WorkerFactory,
    *,
    grace_seconds: float,
    restarts: RestartBudget | None = None,
) -> Loop:
    """A loop that keeps one Temporal worker alive.

    Args:
        name: Name of the loop; by convention `temporal:<queue>`.
        client: The connection the worker uses.
        make_worker: Makes a new Worker with the given `on_fatal_error`.
        grace_seconds: The worker's own `graceful_shutdown_timeout`; the loop waits somewhat longer.
        restarts: Budget of replacements.
    """

    async def run(progress: Progress) -> None:
        # A replacement during an outage would only use up the budget.
        await _until_served(client, progress)
        if not progress.stopping.is_set():
            await _run_worker(name, make_worker, progress)

    return Loop(
        name=name,
        run=run,
        stage=StopStage.WORK,
        restarts=restarts or RestartBudget(),
        stop_within=grace_seconds + _SHUTDOWN_ALLOWANCE_SECONDS,
        turns_within=6 * _TURN_SECONDS,
    )


async def _until_served(client: Client, progress: Progress) -> None:
    async def attempt() -> None:
        if not progress.stopping.is_set():
            await ask_namespace(client)
        progress.waiting("Temporal answers")

    try:
        await until_reached(attempt, on_wait=progress.waiting, patience_seconds=0)
    except Unreachable:
        if not progress.stopping.is_set():
            raise


async def _run_worker(name: str, make_worker: WorkerFactory, progress: Progress) -> None:
    fatal: list[BaseException] = []

    async def on_fatal_error(error: BaseException) -> None:
        # Told at once; the worker's own future ends only after its grace period.
        fatal.append(error)
        progress.degraded(f"worker failed: {error}")
        log_event(WORKER_FATAL, f"the worker of loop {name} failed: {error}", level="ERROR", loop=name)

    worker = make_worker(on_fatal_error)
    running = asyncio.ensure_future(worker.run())
    stopping = asyncio.ensure_future(progress.stopping.wait())
    try:
        while not running.done() and not stopping.done():
            turn = _TURN_SECONDS if worker.is_running else _STARTING_TURN_SECONDS
            await asyncio.wait({running, stopping}, timeout=turn, return_when=asyncio.FIRST_COMPLETED)
            if worker.is_running and not fatal and not running.done():
                progress.mark()
            elif fatal:
                progress.degraded(f"worker failed: {fatal[0]}")
            else:
                progress.waiting("worker is starting")
        if not running.done():
            await worker.shutdown()
        await running
        if not stopping.done():
            raise RuntimeError("the worker ended by itself")
    finally:
        stopping.cancel()
        running.cancel()
