"""The heartbeat row: who lives, which queues it polls, which actions it serves."""

from __future__ import annotations

from importlib.metadata import version

from service_host.progress import Loop, Progress, RestartBudget, StopStage
from workflows_core.runtime import AuthoredRuntime
from workflows_core.storage.database import is_unavailable
from workflows_core.storage.processes import beat
from workflows_core.wire.names import AUTHORED_QUEUE

BEAT_SECONDS = 15.0
"""A row older than three beats is of a process that is gone."""


def beat_loop(runtime: AuthoredRuntime, service: str, identity: str) -> Loop:
    """Writes the row until told to stop; a database that is away degrades it and nothing else."""
    actions = [{"id": a["id"], "version": a["version"], "place": a["place"]} for a in runtime.registry.describe()]

    async def run(progress: Progress) -> None:
        while True:
            try:
                async with runtime.db.narrow() as conn:
                    await beat(
                        conn,
                        identity=identity,
                        service=service,
                        version=version(service),
                        queues=[AUTHORED_QUEUE],
                        actions=actions,
                    )
            except Exception as error:
                if not is_unavailable(error):
                    raise
                progress.degraded(f"PostgreSQL does not answer: {type(error).__name__}")
            else:
                progress.mark()
            if await progress.pause(BEAT_SECONDS):
                return

    return Loop(
        "heartbeat", run, stage=StopStage.RECORD, restarts=RestartBudget(restarts=None), turns_within=4 * BEAT_SECONDS
    )
