"""Runs as the launcher writes them and everybody reads them.

Every function needs a connection whose transaction has its tenant set. What a run itself writes is in `run_writes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import func, null, or_, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Failure, Json
from workflows_core.interpreter.state import SEMANTICS_VERSION
from workflows_core.storage.database import Database
from workflows_core.storage.json_text import json_text
from workflows_core.storage.queued_runs import queue_place
from workflows_core.storage.rows import (
    DeliveryRow,
    InvocationRow,
    LogRow,
    QueuePlace,
    RunRow,
    RunSummary,
    StepRow,
    WaitRow,
)
from workflows_core.storage.statements import rows_of
from workflows_core.storage.tables import (
    as_json,
    deliveries,
    events,
    invocations,
    logs,
    runs,
    steps,
    this_tenant,
    waits,
)
from workflows_core.wire.names import workflow_id_of

_RUN = [runs.c[name] for name in RunRow.__dataclass_fields__]
_INSERT = text(
    f"""
    INSERT INTO workflow_runs
        (tenant, run_id, workflow_id, workflow_version, status, trigger_type, trigger_metadata_json, trigger_fire_key,
         event_type, temporal_workflow_id, definition_hash, runtime_semantics_version, parent_run_id, root_run_id,
         input_json, launch_json)
    VALUES (current_setting('workflows.tenant'), :run_id, :workflow_id, :workflow_version, :status, :trigger_type,
            CAST(:trigger_metadata_json AS jsonb), :trigger_fire_key, :event_type, :temporal_workflow_id,
            :definition_hash, :runtime_semantics_version, :parent_run_id, :root_run_id, CAST(:input_json AS jsonb),
            CAST(:launch_json AS jsonb))
    ON CONFLICT DO NOTHING RETURNING {", ".join(RunRow.__dataclass_fields__)}
    """  # noqa: S608 - names of our own
)
_MARK_RUNNING = text(
    f"SELECT {', '.join(RunRow.__dataclass_fields__)}"  # noqa: S608 - names of our own
    " FROM workflow_mark_running(:tenant, :run_id, :execution)"
)
# The ids are there before they are looked for: under row-level security an index is not searched for what is still
# to be computed.
_IN_PLACE_OF = text(
    r"""
    WITH named AS MATERIALIZED (
        SELECT substring(l.message FROM '\(run ([^()]+)\)$') AS run_id, l.created_at, l.log_id
          FROM workflow_run_logs l
         WHERE l.tenant = current_setting('workflows.tenant') AND l.run_id = :run_id AND l.source = 'operator')
    SELECT r.run_id
      FROM named n
      JOIN workflow_runs r ON r.tenant = current_setting('workflows.tenant') AND r.run_id = n.run_id
     WHERE :run_id IN (r.trigger_metadata_json->>'redriveOfRunId', r.trigger_metadata_json->>'replayOfRunId')
     ORDER BY n.created_at, n.log_id
    """
)


# Of a bounded timeline: rows of each kind, their characters but for the last one that is read, and rows of one fetch.
_MAX_LISTED = 5000
_MAX_LISTED_CHARACTERS = 8 * 1024**2
_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run about to be started.

    Attributes:
        run_id: Unique in the tenant.
        workflow_id: What it runs.
        workflow_version: The pinned version.
        definition_hash: Hash of that version.
        payload: JSON value that the run starts with.
        trigger_type: `event`, `schedule`, `recurring`, or None for a caller, a child, a replay.
        trigger_metadata: JSON about the trigger.
        trigger_fire_key: Of one firing; at most one run of the tenant has it.
        event_type: Name of the event that starts it.
        parent_run_id: The run that calls it.
        root_run_id: The topmost such run; itself by default.
        launch: What only its start needs, kept until it has started.
        status: QUEUED for one that waits for another to end.
        semantics_version: Of the interpreter.
    """

    run_id: str
    workflow_id: str
    workflow_version: int
    definition_hash: str
    payload: Json = None
    trigger_type: str | None = None
    trigger_metadata: Json = None
    trigger_fire_key: str | None = None
    event_type: str | None = None
    parent_run_id: str | None = None
    root_run_id: str | None = None
    launch: dict[str, Any] | None = None
    status: Literal["QUEUED", "STARTING"] = "STARTING"
    semantics_version: int = SEMANTICS_VERSION


@dataclass(frozen=True, slots=True)
class RunTimeline:
    """A run and everything recorded about it, each list in the order in which it happened.

    `queue` is where a QUEUED run stands, None for any other. `left_out` names the lists whose older rows were not read.
    """

    run: RunRow
    steps: list[StepRow]
    waits: list[WaitRow]
    invocations: list[InvocationRow]
    deliveries: list[DeliveryRow]
    logs: list[LogRow]
    queue: QueuePlace | None
    left_out: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Everything under its JSON name; JSON-ready but for the times."""
        return {
            "run": self.run.to_json(),
            "steps": [row.to_json() for row in self.steps],
            "waits": [row.to_json() for row in self.waits],
            "invocations": [row.to_json() for row in self.invocations],
            "deliveries": [row.to_json() for row in self.deliveries],
            "logs": [row.to_json() for row in self.logs],
            "queue": None if self.queue is None else self.queue.to_json(),
            "leftOut": list(self.left_out),
        }


async def insert_run(conn: AsyncConnection, new: NewRun) -> tuple[RunRow, bool]:
    """Inserts the run, STARTING or QUEUED; the existing row, unchanged, where its id or its fire key is there already.

    Returns:
        The row, and whether it is new.
    """
    values = {
        "run_id": new.run_id,
        "workflow_id": new.workflow_id,
        "workflow_version": new.workflow_version,
        "status": new.status,
        "trigger_type": new.trigger_type,
        "trigger_metadata_json": _as_text(new.trigger_metadata),
        "trigger_fire_key": new.trigger_fire_key,
        "event_type": new.event_type,
        "temporal_workflow_id": workflow_id_of(new.run_id),
        "definition_hash": new.definition_hash,
        "runtime_semantics_version": new.semantics_version,
        "parent_run_id": new.parent_run_id,
        "root_run_id": new.root_run_id or new.run_id,
        "input_json": _as_text(new.payload),
        "launch_json": _as_text(new.launch),
    }
    found = await rows_of(conn, _INSERT, values)
    if found:
        return RunRow(**found[0]), True
    same = or_(runs.c.run_id == new.run_id, runs.c.trigger_fire_key == new.trigger_fire_key)
    there = await conn.execute(
        select(*_RUN)
        .where(runs.c.tenant == this_tenant(), same)
        .order_by((runs.c.run_id == new.run_id).desc())
        .limit(1)
    )
    return RunRow.of(there.one()), False


async def kept_for_launch(conn: AsyncConnection, run_id: str) -> dict[str, Any]:
    """What was kept for the run's start; empty once it has started."""
    kept = select(runs.c.launch_json).where(runs.c.tenant == this_tenant(), runs.c.run_id == run_id)
    return dict((await conn.execute(kept)).scalar() or {})


async def mark_running(
    where: Database | AsyncConnection, tenant: str, run_id: str, temporal_run_id: str | None
) -> RunRow | None:
    """STARTING becomes RUNNING; a run that has written its own status already keeps it. Sets its tenant itself.

    Args:
        where: Where.
        tenant: Of the run.
        run_id: The run.
        temporal_run_id: Its first execution; None when that is not known. A known one is never replaced.

    Returns:
        The row as it is then; None when there is none.
    """
    values = {"tenant": tenant, "run_id": run_id, "execution": temporal_run_id}
    found = await rows_of(where, _MARK_RUNNING, values)
    return RunRow(**found[0]) if found else None


async def mark_launch_failed(conn: AsyncConnection, run_id: str, failure: Failure) -> bool:
    """STARTING becomes FAILED; False when the run is not STARTING any more, and nothing changes then."""
    changed = await conn.execute(
        update(runs)
        .where(runs.c.tenant == this_tenant(), runs.c.run_id == run_id, runs.c.status == "STARTING")
        .values(
            status="FAILED",
            error_json=as_json(failure.to_json()),
            launch_json=null(),
            completed_at=func.now(),
            updated_at=func.now(),
        )
        .returning(runs.c.run_id)
    )
    return changed.one_or_none() is not None


async def lineage(conn: AsyncConnection, run_id: str) -> list[str]:
    """The run and the runs above it, the topmost last; empty for one that has no row."""
    found: list[str] = []
    wanted: str | None = run_id
    while wanted is not None and wanted not in found and (row := await get_run(conn, wanted)) is not None:
        found.append(wanted)
        wanted = row.parent_run_id
    return found


async def get_run(conn: AsyncConnection, run_id: str) -> RunRow | None:
    """The run, None when the tenant has none of this id."""
    row = (
        await conn.execute(select(*_RUN).where(runs.c.tenant == this_tenant(), runs.c.run_id == run_id))
    ).one_or_none()
    return None if row is None else RunRow.of(row)


async def run_of_firing(conn: AsyncConnection, fire_key: str) -> RunRow | None:
    """The run that a firing has started, or None."""
    fired = select(*_RUN).where(runs.c.tenant == this_tenant(), runs.c.trigger_fire_key == fire_key)
    row = (await conn.execute(fired)).one_or_none()
    return None if row is None else RunRow.of(row)


async def runs_in_place_of(conn: AsyncConnection, run_id: str) -> list[str]:
    """Ids of the runs that a redrive or a replay has started in a run's place, the first one first.

    The run's own log names them, since nothing leads from a run to those that have its id in their metadata; one that
    two have asked for at once it names twice.
    """
    return list(dict.fromkeys((await conn.execute(_IN_PLACE_OF, {"run_id": run_id})).scalars()))


async def list_runs(
    conn: AsyncConnection,
    *,
    status: str | None = None,
    workflow_id: str | None = None,
    before: tuple[datetime, str] | None = None,
    limit: int = 50,
) -> list[RunSummary]:
    """Runs of the tenant, newest first, without their inputs and results: a page of those may have a hundred MiB.

    Args:
        conn: Where.
        status: Only runs of this status.
        workflow_id: Only runs of this workflow.
        before: Only runs after this (start, run id) in that order: the last of the page before.
        limit: At most so many.
    """
    columns = [runs.c[name] for name in RunSummary.__dataclass_fields__]
    statement = select(*columns).where(runs.c.tenant == this_tenant())
    if status is not None:
        statement = statement.where(runs.c.status == status)
    if workflow_id is not None:
        statement = statement.where(runs.c.workflow_id == workflow_id)
    if before is not None:
        statement = statement.where(tuple_(runs.c.started_at, runs.c.run_id) < tuple_(*before))
    rows = await conn.execute(statement.order_by(runs.c.started_at.desc(), runs.c.run_id.desc()).limit(limit))
    return [RunSummary.of(row) for row in rows]


async def step_generations(conn: AsyncConnection, run_id: str) -> dict[str, int]:
    """By step path the execution of a run, counted by continue-as-new, that wrote the step's row."""
    of_run = select(steps.c.step_path, steps.c.generation).where(
        steps.c.tenant == this_tenant(), steps.c.run_id == run_id
    )
    return {row.step_path: row.generation for row in await conn.execute(of_run)}


async def run_timeline(conn: AsyncConnection, run_id: str, *, bounded: bool = False) -> RunTimeline | None:
    """The run with its steps, waits, invocations, deliveries and log; None when the tenant has none of this id.

    A run may have had millions of steps, and a GiB of what went into its actions: with `bounded` only the newest rows
    of each kind are read, as many as whoever answers others can hold.
    """
    run = await get_run(conn, run_id)
    if run is None:
        return None
    left_out: list[str] = []

    async def rows_of(name: str, kind: Any, table: Any, *order: Any, statement: Any = None) -> list[Any]:
        wanted: Any = select(table) if statement is None else statement
        wanted = wanted.where(table.c.tenant == this_tenant(), table.c.run_id == run_id)
        if not bounded:
            return [kind.of(row) for row in await conn.execute(wanted.order_by(*order))]
        newest = wanted.order_by(*(column.desc() for column in order)).limit(_MAX_LISTED + 1)
        found: list[Any] = []
        characters = 0
        # A few at a time, so that no more is fetched than what is told.
        async with conn.stream(newest, execution_options={"max_row_buffer": _AT_ONCE}) as rows:
            async for row in rows:
                if len(found) == _MAX_LISTED or characters > _MAX_LISTED_CHARACTERS:
                    left_out.append(name)
                    break
                found.append(kind.of(row))
                characters += len(repr(tuple(row)))
        return found[::-1]

    of_events = (events.c.tenant == deliveries.c.tenant) & (events.c.event_id == deliveries.c.event_id)
    with_names = select(deliveries).add_columns(events.c.event_name).join(events, of_events)
    return RunTimeline(
        run=run,
        steps=await rows_of("steps", StepRow, steps, steps.c.started_at, steps.c.step_path, steps.c.visit),
        waits=await rows_of("waits", WaitRow, waits, waits.c.created_at, waits.c.wait_id),
        invocations=await rows_of(
            "invocations", InvocationRow, invocations, invocations.c.started_at, invocations.c.idempotency_key
        ),
        deliveries=await rows_of("deliveries", DeliveryRow, deliveries, deliveries.c.ordinal, statement=with_names),
        logs=await rows_of("logs", LogRow, logs, logs.c.created_at, logs.c.log_id),
        queue=await queue_place(conn, run),
        left_out=tuple(left_out),
    )


def _as_text(value: Any) -> str | None:
    """JSON for the database, None as SQL's NULL."""
    return None if value is None else json_text(value)
