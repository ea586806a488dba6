"""Starts the runs that wait for another run of their workflow to end."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from workflows_core.errors import Refused
from workflows_core.launching.launcher import Launcher
from workflows_core.launching.passes import repeat
from workflows_core.launching.problems import SearchAttributesMissing, TemporalUnavailable
from workflows_core.log_context import about
from workflows_core.progress import LoopProgress
from workflows_core.storage.database import Database, unavailable_reason
from workflows_core.storage.queued_runs import startable_runs
from workflows_core.storage.statements import is_contended

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
        done = 0
        held: set[tuple[str, str]] = set()
        while True:
            before = len(held)
            async with self.db.narrow() as conn:
                found = await startable_runs(conn, self.batch_size, held)
            for tenant, run_id, workflow_id in found:
                with about(tenant=tenant, run_id=run_id):
                    done += await self._start(tenant, run_id, workflow_id, held)
            if len(found) < self.batch_size or len(held) == before:
                return done
            # Those of a workflow that somebody holds may have been all of them: others' runs stand behind.

    async def _start(self, tenant: str, run_id: str, workflow_id: str, held: set[tuple[str, str]]) -> bool:
        """Starts a run, unless its workflow is one of those (tenant, workflow id) that somebody holds in this pass."""
        if (tenant, workflow_id) in held:
            return False
        try:
            launched = await self.launcher.resume(tenant, run_id)
        except (TemporalUnavailable, SearchAttributesMissing):
            raise
        except Refused as error:
            # One run's fault, which its row tells: those behind it start all the same.
            extra = {"event": "queued_run_rejected"}
            _log.warning("run %s was queued and cannot start: %s", run_id, error.message, extra=extra)
            return False
        except DBAPIError as error:
            if not is_contended(error):
                raise
            held.add((tenant, workflow_id))
            extra = {"event": "queued_run_waits"}
            _log.warning("run %s is put off: %s", run_id, unavailable_reason(error), extra=extra)
            return False
        return launched.status != "QUEUED"
