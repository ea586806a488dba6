"""The row that says that this process lives, in `temporal_worker.processes`, for as long as the schema exists."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from service_host.errors import Unreachable
from service_host.events import BACKING_SERVICE_REACHED, BACKING_SERVICE_UNREACHABLE
from service_host.logs import log_event
from service_host.postgres import TRANSACTION_SECONDS, database_reason, ping_postgres, where_of
from service_host.progress import Loop, Progress, RestartBudget, StopStage
from service_host.reaching import RETRY_SECONDS

BEAT_SECONDS: Final = 10.0
ABSENT: Final = "schema temporal_worker is absent: jobs are not recorded; `temporal-worker migrate` creates it"

_HAS_TABLE: Final = text("SELECT to_regclass('temporal_worker.processes') IS NOT NULL")
_BEAT: Final = text("""
    INSERT INTO temporal_worker.processes (identity, service, version, build_id, namespace, queues, draining)
    VALUES (:identity, :service, :version, :build_id, :namespace, :queues, :draining)
    ON CONFLICT (identity) DO UPDATE SET
        version = excluded.version, build_id = excluded.build_id, namespace = excluded.namespace,
        queues = excluded.queues, draining = excluded.draining, beat_at = now(),
        started_at = CASE WHEN :first THEN now() ELSE processes.started_at END
""")
_FORGET_DEAD: Final = text("DELETE FROM temporal_worker.processes WHERE beat_at < now() - interval '1 day'")
_LEAVE: Final = text("DELETE FROM temporal_worker.processes WHERE identity = :identity")


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """What the row says, besides its times."""

    identity: str
    service: str
    version: str
    build_id: str
    namespace: str
    queues: Sequence[str]


class Heartbeat:
    """Writes the row every ten seconds and takes it away at the end.

    Args:
        engine: The service's engine.
        row: What to write.
        draining: Whether the process is on its way out.
    """

    def __init__(self, engine: AsyncEngine, row: ProcessRow, draining: Callable[[], bool]) -> None:
        self._engine = engine
        self._row = row
        self._draining = draining
        self._first = True

    def loop(self) -> Loop:
        """The heartbeat as a loop of the supervisor."""
        return Loop(
            name="heartbeat",
            run=self.run,
            stage=StopStage.RECORD,
            restarts=RestartBudget(restarts=None),
            stop_within=5.0,
            turns_within=6 * BEAT_SECONDS,
        )

    async def run(self, progress: Progress) -> None:
        """Beat until asked to stop; a database that is gone is reported every few seconds and waited for."""
        reached = True
        while not progress.stopping.is_set():
            try:
                detail = await self.beat()
            except Unreachable as error:
                reached = False
                progress.degraded(str(error))
                log_event(
                    BACKING_SERVICE_UNREACHABLE,
                    f"{error.service} at {error.address} is not reachable: {error.reason}; "
                    f"next attempt in {RETRY_SECONDS:g} s",
                    level="WARNING",
                    backing_service=error.service,
                    address=error.address,
                )
                await progress.pause(RETRY_SECONDS)
                continue
            if not reached:
                log_event(BACKING_SERVICE_REACHED, f"PostgreSQL at {where_of(self._engine)} answers now")
                reached = True
            progress.mark(detail)
            await progress.pause(BEAT_SECONDS)
        await self._leave()

    async def beat(self) -> str:
        """Write the row, if there is a table for it.

        Returns:
            What was done, for readiness.

        Raises:
            Unreachable: The database gave no answer.
        """
        await ping_postgres(self._engine)
        try:
            async with asyncio.timeout(TRANSACTION_SECONDS), self._engine.begin() as connection:
                if not (await connection.execute(_HAS_TABLE)).scalar():
                    return ABSENT
                await connection.execute(_BEAT, {**self._values(), "draining": self._draining(), "first": self._first})
                await connection.execute(_FORGET_DEAD)
        except (SQLAlchemyError, OSError) as error:
            raise Unreachable("PostgreSQL", where_of(self._engine), database_reason(error)) from error
        self._first = False
        return "the process is registered"

    async def _leave(self) -> None:
        if self._first:
            return
        try:
            async with self._engine.begin() as connection:
                await connection.execute(_LEAVE, {"identity": self._row.identity})
        except (SQLAlchemyError, OSError) as error:
            log_event(
                "heartbeat_left_behind",
                f"the process's row stays behind and expires by itself: {database_reason(error)}",
                level="WARNING",
            )

    def _values(self) -> dict[str, object]:
        return {
            "identity": self._row.identity,
            "service": self._row.service,
            "version": self._row.version,
            "build_id": self._row.build_id,
            "namespace": self._row.namespace,
            "queues": list(self._row.queues),
        }
