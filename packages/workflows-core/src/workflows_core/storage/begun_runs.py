"""What an execution of a run begins with."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Json
from workflows_core.interpreter.state import SEMANTICS_VERSION
from workflows_core.storage.database import Database
from workflows_core.storage.json_text import json_text
from workflows_core.storage.statements import RunReset, rows_of
from workflows_core.wire.messages import RunInput

# Of two events that are routed in the same millisecond the second one is not behind the first for the run of that one.
_LOAD = text(
    """
    SELECT l.recorded, l.definition_hash, l.input_json, l.trigger_metadata_json, l.runtime_semantics_version,
           coalesce((SELECT CAST(floor(extract(epoch FROM e.processed_at) * 1000) AS bigint) + 1
                       FROM workflow_runtime_events e
                      WHERE e.tenant = :tenant AND e.event_id = l.trigger_metadata_json ->> 'eventId'),
                    least(l.started_at,
                          CASE jsonb_typeof(l.trigger_metadata_json -> 'queuedSince')
                              WHEN 'number' THEN CAST(l.trigger_metadata_json ->> 'queuedSince' AS bigint) END)
                   ) AS started_at
      FROM workflow_load_run(:tenant, :run_id) AS l
    """
)

_EXECUTION_OF = text(
    """
    SELECT workflow_execution_of(r, CAST(:generation AS integer)) FROM workflow_runs r
     WHERE r.tenant = current_setting('workflows.tenant') AND r.run_id = :run_id
    """
)

_ENSURE = text("SELECT workflow_ensure_run(CAST(:run AS jsonb), :semantics)")


@dataclass(frozen=True, slots=True)
class BegunRun:
    """A run as its row has it; one without a row (`recorded` is False) begins now, with nothing.

    Attributes:
        recorded: It has a row.
        started_at: Milliseconds since the epoch, by the database's clock: look-back compares it with times of routing.
            Of a run that waited for others to end, when it began to wait; of one that an event started, just behind the
            routing of that event. What comes meanwhile is for it already.
        definition_hash: Of the pinned version.
        input_json: The payload.
        trigger_metadata_json: About what started it.
        runtime_semantics_version: The meaning it began with.
    """

    recorded: bool
    started_at: int
    definition_hash: str = ""
    input_json: Json = field(default_factory=dict)
    trigger_metadata_json: Json = None
    runtime_semantics_version: int = SEMANTICS_VERSION


async def begun_run(where: Database | AsyncConnection, tenant: str, run_id: str) -> BegunRun:
    """The run, read in one statement that sets its tenant itself."""
    [row] = await rows_of(where, _LOAD, {"tenant": tenant, "run_id": run_id})
    return BegunRun(**row) if row["recorded"] else BegunRun(recorded=False, started_at=row["started_at"])


async def require_own(db: Database, tenant: str, run_id: str, generation: int, execution: str) -> None:
    """Lets an execution pass that a generation of the run belongs to, or may belong to, having written nothing.

    Raises:
        RunReset: The generation belongs to another one.
    """
    async with db.tenant(tenant) as conn:
        known = (await conn.execute(_EXECUTION_OF, {"run_id": run_id, "generation": generation})).scalar()
    if known not in (None, execution):
        raise RunReset(
            f"execution {execution} is not the one that generation {generation} of run {run_id} belongs to ({known})"
        )


async def restore_row(db: Database, begun: RunInput, parent_run_id: str | None) -> None:
    """Gives a run a row again of what it was started with, and by which run; one that has a row keeps it."""
    run = {
        "tenant": begun.tenant_id,
        "run_id": begun.run_id,
        "workflow_id": begun.workflow_id,
        "workflow_version": begun.workflow_version,
        "trigger_type": begun.trigger_type,
        "parent_run_id": parent_run_id,
    }
    async with db.tenant(begun.tenant_id) as conn:
        await conn.execute(_ENSURE, {"run": json_text(run), "semantics": SEMANTICS_VERSION})
