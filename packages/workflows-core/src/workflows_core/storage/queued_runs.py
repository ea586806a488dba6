"""Runs that wait for another run of their workflow to end before they start."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Failure
from workflows_core.storage.admission import open_runs
from workflows_core.storage.json_text import json_text
from workflows_core.storage.rows import QueuePlace, RunRow
from workflows_core.storage.tables import definitions, runs, this_tenant

_STARTABLE = text(
    "SELECT tenant, run_id, workflow_id FROM workflow_startable_runs("
    ":limit, CAST(:left_tenants AS text[]), CAST(:left_workflows AS text[]))"
)
_LOCK = text(
    "SELECT status FROM workflow_runs WHERE tenant = current_setting('workflows.tenant') AND run_id = :run FOR UPDATE"
)
_LEAVE = text(
    """
    UPDATE workflow_runs SET
        status = 'STARTING', started_at = now(), updated_at = now(),
        trigger_metadata_json = coalesce(nullif(trigger_metadata_json, 'null'), '{}')
            || jsonb_build_object('queuedSince', CAST(floor(extract(epoch FROM started_at) * 1000) AS bigint))
     WHERE tenant = current_setting('workflows.tenant') AND run_id = :run AND status = 'QUEUED'
    """
)
_END = text(
    """
    SELECT workflow_end_run(
        current_setting('workflows.tenant'), :run, 'CANCELED', CAST(:error AS jsonb), '', CAST('[]' AS jsonb))
    """
)


async def startable_runs(
    conn: AsyncConnection, limit: int, left: Collection[tuple[str, str]] = ()
) -> list[tuple[str, str, str]]:
    """Tenant, id and workflow id of QUEUED runs for which there seems to be room, the longest waiting first.

    Args:
        conn: Without a tenant.
        limit: As many at most.
        left: Tenant and workflow id of workflows whose runs are left out.
    """
    values = {
        "limit": limit,
        "left_tenants": [tenant for tenant, _ in left],
        "left_workflows": [workflow for _, workflow in left],
    }
    return [(row.tenant, row.run_id, row.workflow_id) for row in await conn.execute(_STARTABLE, values)]


async def has_queued(conn: AsyncConnection, workflow_id: str) -> bool:
    """Whether a run of the workflow is QUEUED."""
    queued = select(runs.c.run_id).where(
        runs.c.tenant == this_tenant(), runs.c.workflow_id == workflow_id, runs.c.status == "QUEUED"
    )
    return (await conn.execute(queued.limit(1))).first() is not None


async def leave_queue(conn: AsyncConnection, run_id: str) -> None:
    """QUEUED becomes STARTING; its start is now, and its trigger says since when it was QUEUED.

    A run that is not QUEUED stays as it is.
    """
    await conn.execute(_LEAVE, {"run": run_id})


async def cancel_queued(conn: AsyncConnection, run_id: str, failure: Failure) -> bool:
    """QUEUED becomes CANCELED; False, and nothing changes, when the run is not QUEUED any more."""
    if (await conn.execute(_LOCK, {"run": run_id})).scalar() != "QUEUED":
        return False
    await conn.execute(_END, {"run": run_id, "error": json_text(failure.to_json())})
    return True


async def queue_place(conn: AsyncConnection, run: RunRow) -> QueuePlace | None:
    """Where a run stands in its queue; None for one that is not QUEUED."""
    if run.status != "QUEUED":
        return None
    of_workflow = (runs.c.tenant == this_tenant()) & (runs.c.workflow_id == run.workflow_id)
    before = tuple_(runs.c.started_at, runs.c.run_id) < tuple_(run.started_at, run.run_id)
    ahead = select(func.count()).where(of_workflow, runs.c.status == "QUEUED", before)
    row = (
        await conn.execute(
            select(
                ahead.scalar_subquery().label("ahead"),
                definitions.c.concurrency_limit.label("limit"),
                definitions.c.is_paused.label("paused"),
            ).where(definitions.c.tenant == this_tenant(), definitions.c.workflow_id == run.workflow_id)
        )
    ).one()
    return QueuePlace(row.ahead, await open_runs(conn, run.workflow_id), row.limit, row.paused)
