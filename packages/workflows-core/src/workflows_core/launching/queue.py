"""Starts the runs that wait for another run of their workflow to end."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError

from workflows_core.errors import Refused
from workflows_core.launching.launcher import Launcher
from workflows_core.launching.passes import repeat
from workflows_core.launching.problems import SearchAttributesMissing, TemporalUnavailable
from workflows_core.log_context import about
from workflows_core.progress import LoopProgress
from workflows_core.storage.admission import hold_free_definition
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
        batch_size: Runs that are looked at together.
        held: Tenant and id of workflows that somebody held at the last look: until one of their runs goes through they
            are waited for briefly only, which would keep all other runs waiting as well.
    """

    db: Database
    launcher: Launcher
    every_seconds: float = 1.0
    batch_size: int = 100
    held: set[tuple[str, str]] = field(default_factory=set)

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
        left: set[tuple[str, str]] = set()
        while True:
            before = len(left)
            async with self.db.narrow() as conn:
                found = await startable_runs(conn, self.batch_size, left)
            for tenant, run_id, workflow_id in found:
                with about(tenant=tenant, run_id=run_id):
                    done += await self._start(tenant, run_id, workflow_id, left)
            if len(found) < self.batch_size or len(left) == before:
                return done
            # Those of a workflow that somebody holds may have been all of them: others' runs stand behind.

    async def _start(self, tenant: str, run_id: str, workflow_id: str, left: set[tuple[str, str]]) -> bool:
        """Starts a run, unless its workflow is one of those (tenant, workflow id) that somebody holds in this pass."""
        workflow = (tenant, workflow_id)
        if workflow in left:
            return False
        try:
            if workflow in self.held:
                async with self.db.tenant(tenant) as conn:
                    await hold_free_definition(conn, workflow_id)
                self.held.discard(workflow)
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
            left.add(workflow)
            self.held.add(workflow)
            extra = {"event": "queued_run_waits"}
            _log.warning("run %s is put off: %s", run_id, unavailable_reason(error), extra=extra)
            return False
        return launched.status != "QUEUED"
