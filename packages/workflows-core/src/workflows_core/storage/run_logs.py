"""Lines that operators add to the log of a run."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# In a statement of its own: what counts the lines has to see those that were added while it waited.
_HOLD = text(
    "SELECT 1 FROM workflow_runs"
    " WHERE tenant = current_setting('workflows.tenant') AND run_id = :run_id FOR NO KEY UPDATE"
)
# Sequence -1 is no write of the run.
_APPEND = text(
    """
    INSERT INTO workflow_run_logs (tenant, run_id, level, message, source, generation, sequence, ordinal, created_at)
    SELECT r.tenant, r.run_id, 'INFO', :message, 'operator', r.generation, -1,
           (SELECT coalesce(max(l.ordinal), 0) + 1 FROM workflow_run_logs l
             WHERE l.tenant = r.tenant AND l.run_id = r.run_id AND l.generation = r.generation AND l.sequence = -1),
           clock_timestamp()
      FROM workflow_runs r
     WHERE r.tenant = current_setting('workflows.tenant') AND r.run_id = :run_id
    """
)


async def append_log(conn: AsyncConnection, run_id: str, message: str) -> None:
    """Adds an operator's line to a run's log, in the caller's transaction; nothing where the tenant has no such run."""
    await conn.execute(_HOLD, {"run_id": run_id})
    await conn.execute(_APPEND, {"run_id": run_id, "message": message})
