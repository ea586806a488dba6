"""Open runs that nothing was heard of, and ending one that cannot tell its end itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from sqlalchemy import text

from workflows_core.errors import Failure
from workflows_core.storage.database import Database
from workflows_core.storage.json_text import json_text
from workflows_core.storage.run_writes import write_in
from workflows_core.storage.statements import value_of
from workflows_core.wire.records import RunStatus, RunWrite

_QUIET = text("SELECT tenant, run_id FROM workflow_quiet_runs(:seconds, :tenant, :run, :limit)")
_CUT_SHORT = text("SELECT tenant, run_id FROM workflow_quiet_launches(:seconds, :limit)")
_OPEN = text(
    """
    SELECT run_id FROM workflow_runs
     WHERE tenant = current_setting('workflows.tenant') AND status IN ('STARTING', 'RUNNING', 'WAITING')
       AND run_id = ANY(:runs)
     ORDER BY run_id
    """
)
_OPEN_CHILDREN = text(
    # By status, of which there is an index: of all runs that ever were, few are open.
    """
    SELECT run_id FROM workflow_runs
     WHERE tenant = current_setting('workflows.tenant') AND status IN ('STARTING', 'RUNNING', 'WAITING')
       AND parent_run_id = :run
    """
)
_END = text(
    "SELECT workflow_end_run(:tenant, :run, :status, CAST(:error AS jsonb), :execution, CAST(:consumed AS jsonb))"
)

_LOCKED = text(
    """
    SELECT generation, sequence, node_path, workflow_is_final(status) AS ended,
           CASE WHEN generation = 0 THEN temporal_run_id ELSE executions[generation] END AS execution,
           CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint) AS now
      FROM workflow_runs WHERE tenant = current_setting('workflows.tenant') AND run_id = :run FOR NO KEY UPDATE
    """
)

ROWS_LOST: Final = (
    "it had ended so, and the database has lost that, perhaps with steps before it: such as a standby that took over "
    "and had not received everything"
)
"""About a run that has written its end and has none."""


async def quiet_runs(db: Database, seconds: float, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
    """Tenant and id of open runs whose row is older than so many seconds, in their order, after a given one."""
    values: dict[str, Any] = {"seconds": seconds, "tenant": after[0], "run": after[1], "limit": limit}
    async with db.narrow() as conn:
        return [(row.tenant, row.run_id) for row in await conn.execute(_QUIET, values)]


async def quiet_launches(db: Database, seconds: float, limit: int) -> list[tuple[str, str]]:
    """Tenant and id of runs that have been STARTING for so many seconds, the oldest first."""
    async with db.narrow() as conn:
        return [
            (row.tenant, row.run_id) for row in await conn.execute(_CUT_SHORT, {"seconds": seconds, "limit": limit})
        ]


async def open_runs_of(db: Database, tenant: str, run_ids: Iterable[str]) -> list[str]:
    """Which of those runs are the tenant's and have not ended, in their order."""
    async with db.tenant(tenant) as conn:
        return list((await conn.execute(_OPEN, {"runs": list(run_ids)})).scalars())


async def open_children(db: Database, tenant: str, run_id: str) -> list[str]:
    """Ids of the runs that the run has started and that have not ended."""
    async with db.tenant(tenant) as conn:
        return list((await conn.execute(_OPEN_CHILDREN, {"run": run_id})).scalars())


async def end_run(
    db: Database,
    tenant: str,
    run_id: str,
    status: RunStatus,
    failure: Failure,
    *,
    execution: str,
    consumed: Sequence[Mapping[str, Any]] | None,
) -> bool:
    """Ends an open run with a final status; False when it has ended meanwhile.

    Args:
        db: Where.
        tenant: Of the run.
        run_id: The run.
        status: What it ended as.
        failure: Why.
        execution: Temporal's id of its last execution.
        consumed: What it took and had not written yet (`ConsumedRecord`); None when nobody can tell.
    """
    values = {
        "tenant": tenant,
        "run": run_id,
        "status": status,
        "error": json_text(failure.to_json()),
        "execution": execution,
        "consumed": None if consumed is None else json_text(list(consumed)),
    }
    return bool(await value_of(db, _END, values))


async def end_as_told(
    db: Database,
    tenant: str,
    run_id: str,
    status: RunStatus,
    end: Failure | Mapping[str, Any],
    *,
    execution: str,
    consumed: Sequence[Mapping[str, Any]] | None,
) -> bool:
    """Writes the end that an open run had written itself and whose row is lost; False when it has one meanwhile.

    Args:
        db: Where.
        tenant: Of the run.
        run_id: The run.
        status: What it ended as.
        end: Why it ended without success, or what it SUCCEEDED with.
        execution: As for `end_run`.
        consumed: What is certain that it took.
    """
    error = end.to_json() if isinstance(end, Failure) else None
    async with db.tenant(tenant) as conn:
        row = (await conn.execute(_LOCKED, {"run": run_id})).mappings().one_or_none()
        if row is None or row["ended"]:
            return False
        log = {"level": "WARN", "message": ROWS_LOST, "step_path": None, "context_json": None, "at": row["now"]}
        write = {
            "tenant": tenant,
            "run_id": run_id,
            **dict.fromkeys(("workflow_id", "workflow_version", "definition_hash", "trigger_type")),
            "generation": row["generation"],
            "sequence": row["sequence"] + 1,
            "status": status,
            "node_path": None if error is None else row["node_path"],
            "waiting_for": None,
            "steps": [],
            "consumed": list(consumed or ()),
            "closed": [],
            "waits": [],
            "logs": [log],
            "result_json": end if error is None else None,
            "error_json": error,
            # It may have taken any of what is open in the rows: nobody else gets that before an operator has decided.
            "undeliverable": "outcome unknown: the database has lost whether the run took the event",
            "outcome_unknown": True,
        }
        await write_in(conn, cast(RunWrite, write), row["execution"] or execution)
    return True
