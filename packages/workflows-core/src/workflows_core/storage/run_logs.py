"""Lines that others than the run itself add to its log."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# Sequence -1 is no write of the run; the lock makes the numbers of two such lines differ.
_APPEND = text(
    """
    WITH held AS (
        SELECT tenant, run_id, generation FROM workflow_runs
         WHERE tenant = current_setting('workflows.tenant') AND run_id = :run_id FOR NO KEY UPDATE)
    INSERT INTO workflow_run_logs (tenant, run_id, level, message, source, generation, sequence, ordinal, created_at)
    SELECT h.tenant, h.run_id, :level, :message, :source, h.generation, -1,
           (SELECT coalesce(max(l.ordinal), 0) + 1 FROM workflow_run_logs l
             WHERE l.tenant = h.tenant AND l.run_id = h.run_id AND l.generation = h.generation AND l.sequence = -1),
           clock_timestamp()
      FROM held h
    """
)


async def append_log(
    conn: AsyncConnection, run_id: str, level: Literal["DEBUG", "INFO", "WARN", "ERROR"], message: str, *, source: str
) -> None:
    """Adds a line to a run's log, in the caller's transaction; nothing where the tenant has no such run."""
    await conn.execute(_APPEND, {"run_id": run_id, "level": level, "message": message, "source": source})
