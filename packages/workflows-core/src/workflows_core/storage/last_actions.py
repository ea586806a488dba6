"""Actions that end their run: the end of both is one transaction, and the run can ask later whether it took place."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.interpreter.state import SEMANTICS_VERSION
from workflows_core.storage.database import Database
from workflows_core.storage.json_text import json_text
from workflows_core.storage.run_writes import write_in
from workflows_core.storage.statements import value_of
from workflows_core.wire.records import RunWrite, StepRecord, WrittenEnd

_COMPLETE = text(
    """
    SELECT workflow_complete_last_action(
        CAST(:write AS jsonb), CAST(:end AS jsonb), CAST(:step AS jsonb), :token, :execution, :semantics)
    """
)
# The fence tells whose end it is. The reconciler ends only what Temporal has closed, which asks for nothing any more.
_END = text(
    """
    SELECT r.status, r.completed_at, r.result_json, r.error_json FROM workflow_runs r
     WHERE r.tenant = :tenant AND r.run_id = :run_id AND workflow_is_final(r.status)
       AND (r.generation, r.sequence) = (:generation, :sequence)
    """
)


async def complete_last(
    where: Database | AsyncConnection, write: RunWrite, end: RunWrite, step: StepRecord, token: str, execution: str
) -> bool:
    """Writes an action's end and its run's; repeating it changes nothing.

    Args:
        where: A transaction, or the database for one of its own.
        write: What the call carries.
        end: The run's final write, with all that `write` has and the action's own row.
        step: The action's row; `invocation` is the ledger's part.
        token: The start that ended.
        execution: As for `run_writes.write_run`.

    Returns:
        Whether the run has ended with this. If not, another start owns the action and nothing is written, or the run
        has gone on without it and `write` is.

    Raises:
        RunReset: The execution is not the run's own; nothing is written.
    """
    settled: StepRecord = {**step, "invocation": None}
    values = {
        "write": json_text({**write, "steps": [*write["steps"], settled]}),
        "end": json_text(end),
        "step": json_text(step),
        "token": token,
        "execution": execution,
        "semantics": SEMANTICS_VERSION,
    }
    return bool(await value_of(where, _COMPLETE, values))


async def end_of(db: Database, write: RunWrite) -> WrittenEnd | None:
    """The end of the run, if the call that carried `write` has written it."""
    async with db.tenant(write["tenant"]) as conn:
        return await _end_in(conn, write, write["sequence"] + 1)


async def revoke(db: Database, write: RunWrite, execution: str, end: int) -> WrittenEnd | None:
    """Writes for a run that does not know how its last action ended, so that the action cannot end it any more.

    Args:
        db: Where.
        write: Newer than what the action would write.
        execution: As for `run_writes.write_run`.
        end: Sequence of the end that the action would write.

    Returns:
        The end if the action has written it before.
    """
    async with db.tenant(write["tenant"]) as conn:
        await write_in(conn, write, execution)
        return await _end_in(conn, write, end)


async def _end_in(conn: AsyncConnection, write: RunWrite, sequence: int) -> WrittenEnd | None:
    values = {
        "tenant": write["tenant"],
        "run_id": write["run_id"],
        "generation": write["generation"],
        "sequence": sequence,
    }
    row = (await conn.execute(_END, values)).mappings().one_or_none()
    if row is None:
        return None
    ended_at: datetime = row["completed_at"]
    return {
        "status": row["status"],
        "at": round(ended_at.timestamp() * 1000),
        "result_json": row["result_json"],
        "error_json": row["error_json"],
    }
