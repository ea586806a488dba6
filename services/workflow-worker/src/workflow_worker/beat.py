"""The heartbeat row: who lives, which queues it polls, which actions it serves."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from service_host.progress import Loop, Progress, RestartBudget, StopStage
from workflows_core.actions.action import Place
from workflows_core.runtime import AuthoredRuntime
from workflows_core.storage.announcing import BEAT_SECONDS, LEAVE_SECONDS, keep_announced
from workflows_core.storage.processes import Announcement
from workflows_core.wire.names import AUTHORED_QUEUE


def beat_loop(
    runtime: AuthoredRuntime, service: str, identity: str, temporal_ahead: Callable[[], float | None]
) -> Loop:
    """Writes the row until told to stop; a database that is away degrades it and nothing else."""
    actions = runtime.registry.announced(Place.WORKER)
    announcement = Announcement(identity, service, version(service), [AUTHORED_QUEUE], actions)

    async def run(progress: Progress) -> None:
        await keep_announced(runtime.db, announcement, progress, temporal_ahead)

    return Loop(
        "heartbeat",
        run,
        stage=StopStage.RECORD,
        restarts=RestartBudget(restarts=None),
        turns_within=4 * BEAT_SECONDS,
        stop_within=LEAVE_SECONDS,
    )
