"""Starts the runs that wait for another run of their workflow to end."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from workflows_core.errors import Refused
from workflows_core.launching.launcher import Launcher
from workflows_core.launching.passes import repeat
from workflows_core.launching.problems import SearchAttributesMissing, TemporalUnavailable
from workflows_core.log_context import about
from workflows_core.progress import LoopProgress
from workflows_core.storage.database import Database
from workflows_core.storage.queued_runs import startable_runs

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QueuedStarts:
    """One process's loop; several do no harm, since a run leaves its queue once.

    Attributes:
        db: The database, as the application role.
        launcher: Starts them.
        every_seconds: Between two passes.
        batch_size: Runs of one pass.
    """

    db: Database
    launcher: Launcher
    every_seconds: float = 1.0
    batch_size: int = 100

    async def run(self, progress: LoopProgress) -> None:
        """Passes until cancelled."""
        await repeat(
            self.one_pass,
            progress,
            self.every_seconds,
            told=lambda done: f"{done} starts" if done else "",
            passing=(TemporalUnavailable, SearchAttributesMissing),
        )

    async def one_pass(self) -> int:
        """How many runs were started.

        Raises:
            TemporalUnavailable: As the launcher says; what has left its queue is STARTING, for the reconciler.
            SearchAttributesMissing: Likewise.
            Exception: The database is away.
        """
        async with self.db.narrow() as conn:
            found = await startable_runs(conn, self.batch_size)
        done = 0
        for tenant, run_id in found:
            with about(tenant=tenant, run_id=run_id):
                done += await self._start(tenant, run_id)
        return done

    async def _start(self, tenant: str, run_id: str) -> bool:
        try:
            launched = await self.launcher.resume(tenant, run_id)
        except (TemporalUnavailable, SearchAttributesMissing):
            raise
        except Refused as error:
            # One run's fault, which its row tells: those behind it start all the same.
            extra = {"event": "queued_run_rejected"}
            _log.warning("run %s was queued and cannot start: %s", run_id, error.message, extra=extra)
            return False
        return launched.status != "QUEUED"
