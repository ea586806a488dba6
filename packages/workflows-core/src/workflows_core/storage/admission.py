"""What decides whether a run may start, read so that it cannot change before the run's row is there."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_HOLD = text(
    """
    SELECT d.workflow_id, d.key, d.is_paused, d.concurrency_limit FROM workflow_definitions d
     WHERE d.tenant = current_setting('workflows.tenant')
       AND (d.workflow_id = :workflow OR (NOT :by_id AND d.key = :workflow))
     ORDER BY (d.key = :workflow) DESC LIMIT 1 FOR SHARE
    """
)
# Launches of a workflow with a limit count one after the other, and each sees what the earlier ones inserted.
_ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended(:lock, 11))")
_OPEN = text(
    """
    SELECT count(*) FROM workflow_runs
     WHERE tenant = current_setting('workflows.tenant') AND workflow_id = :workflow_id
       AND status IN ('STARTING', 'RUNNING', 'WAITING')
    """
)
_VERSIONS = text(
    """
    SELECT version FROM workflow_definition_versions
     WHERE tenant = current_setting('workflows.tenant') AND workflow_id = :workflow_id ORDER BY version
    """
)


@dataclass(frozen=True, slots=True)
class HeldDefinition:
    """A workflow whose pause and limit stay as they are until the transaction ends."""

    workflow_id: str
    key: str
    is_paused: bool
    concurrency_limit: int | None


async def hold_definition(conn: AsyncConnection, workflow: str, *, by_id: bool = False) -> HeldDefinition | None:
    """The workflow with this key, else with this id, locked against changes; None when there is none.

    Where it has a limit, other launches of it wait until this transaction ends.
    """
    row = (await conn.execute(_HOLD, {"workflow": workflow, "by_id": by_id})).mappings().one_or_none()
    if row is None:
        return None
    held = HeldDefinition(**row)
    if held.concurrency_limit is not None:
        tenant = (await conn.execute(text("SELECT current_setting('workflows.tenant')"))).scalar_one()
        await conn.execute(_ALONE, {"lock": f"{tenant}\x1f{held.workflow_id}"})
    return held


async def open_runs(conn: AsyncConnection, workflow_id: str) -> int:
    """How many runs of the workflow are open; exact while it is held with a limit."""
    return int((await conn.execute(_OPEN, {"workflow_id": workflow_id})).scalar_one())


async def published_versions(conn: AsyncConnection, workflow_id: str) -> list[int]:
    """Version numbers, ascending."""
    return list((await conn.execute(_VERSIONS, {"workflow_id": workflow_id})).scalars())
