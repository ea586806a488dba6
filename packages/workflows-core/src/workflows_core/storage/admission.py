"""What decides whether a run may start, read so that it cannot change before the run's row is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Json
from workflows_core.storage.json_text import json_text
from workflows_core.storage.statements import rows_of

_HOLD = text(
    """
    SELECT d.workflow_id, d.key, d.is_paused, d.concurrency_limit, d.published_version,
           v.version, v.definition_hash, v.payload_schema_json AS payload_schema,
           v.definition_json ->> 'onConcurrencyLimit' = 'wait' AS waits_at_limit
      FROM workflow_definitions d
      LEFT JOIN LATERAL (
          SELECT * FROM workflow_definition_versions w
           WHERE w.tenant = d.tenant AND w.workflow_id = d.workflow_id
             AND (CAST(:version AS integer) IS NULL OR w.version = CAST(:version AS integer))
           ORDER BY w.version DESC LIMIT 1) v ON true
     WHERE d.tenant = current_setting('workflows.tenant')
       AND (d.workflow_id = :workflow OR (NOT :by_id AND d.key = :workflow))
     ORDER BY (d.workflow_id = :workflow) DESC LIMIT 1 FOR SHARE OF d
    """
)
# Launches of a workflow with a limit count one after the other, and each sees what the earlier ones inserted.
_ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended(:lock, 11))")
_BRIEFLY = text("SET LOCAL lock_timeout = '200ms'")
_OPEN = text(
    """
    SELECT count(*) FROM workflow_runs
     WHERE tenant = current_setting('workflows.tenant') AND workflow_id = :workflow_id
       AND status IN ('STARTING', 'RUNNING', 'WAITING')
    """
)
_BEGAN_WITH = text(
    """
    SELECT input_json = CAST(:payload AS jsonb) FROM workflow_runs
     WHERE tenant = current_setting('workflows.tenant') AND run_id = :run_id
    """
)
_VERSIONS = text(
    """
    SELECT version FROM workflow_definition_versions
     WHERE tenant = current_setting('workflows.tenant') AND workflow_id = :workflow_id ORDER BY version
    """
)


@dataclass(frozen=True, slots=True)
class HeldVersion:
    """What a launch needs of a published version; `waits_at_limit`: its runs wait until there is room."""

    version: int
    definition_hash: str
    payload_schema: Mapping[str, Any] | None
    waits_at_limit: bool


@dataclass(frozen=True, slots=True)
class HeldDefinition:
    """A workflow whose pause and limit stay as they are until the transaction ends; `version` is the one asked for."""

    workflow_id: str
    key: str
    is_paused: bool
    concurrency_limit: int | None
    version: HeldVersion | None


async def hold_definition(
    conn: AsyncConnection, workflow: str, version: int | None = None, *, by_id: bool = False
) -> HeldDefinition | None:
    """The workflow with this id, else with this key, locked against changes; None when there is none.

    Where it has a limit, other launches of it wait until this transaction ends.

    Args:
        conn: Where.
        workflow: Key or id.
        version: The version asked for; None for the newest.
        by_id: It is an id.
    """
    values = {"workflow": workflow, "version": version, "by_id": by_id}
    rows = await rows_of(conn, _HOLD, values)
    if rows and version is None and rows[0]["version"] != rows[0]["published_version"]:
        # Published while this waited for the lock: the version is of before, and now nobody publishes.
        rows = await rows_of(conn, _HOLD, values)
    if not rows:
        return None
    [row] = rows
    found = None
    if row["version"] is not None:
        found = HeldVersion(row["version"], row["definition_hash"], row["payload_schema"], bool(row["waits_at_limit"]))
    held = HeldDefinition(row["workflow_id"], row["key"], row["is_paused"], row["concurrency_limit"], found)
    if held.concurrency_limit is not None:
        tenant = (await conn.execute(text("SELECT current_setting('workflows.tenant')"))).scalar_one()
        await conn.execute(_ALONE, {"lock": f"{tenant}\x1f{held.workflow_id}"})
    return held


async def hold_free_definition(conn: AsyncConnection, workflow_id: str) -> None:
    """As `hold_definition`, but for an error that `is_contended` where somebody else holds the workflow for longer."""
    await conn.execute(_BRIEFLY)
    await hold_definition(conn, workflow_id, by_id=True)


async def open_runs(conn: AsyncConnection, workflow_id: str) -> int:
    """How many runs of the workflow are open; exact while it is held with a limit."""
    return int((await conn.execute(_OPEN, {"workflow_id": workflow_id})).scalar_one())


async def published_versions(conn: AsyncConnection, workflow_id: str) -> list[int]:
    """Version numbers, ascending."""
    return list((await conn.execute(_VERSIONS, {"workflow_id": workflow_id})).scalars())


async def began_with(conn: AsyncConnection, run_id: str, payload: Json) -> bool:
    """Whether the run began with this payload.

    The database compares: a large number that it has kept is read as a whole one, which its float does not equal.
    """
    return bool((await conn.execute(_BEGAN_WITH, {"run_id": run_id, "payload": json_text(payload)})).scalar())
