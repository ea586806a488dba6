"""Actions that end their run: the end of both is one transaction, and the run can ask later whether it took place."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.interpreter.state import SEMANTICS_VERSION
from workflows_core.storage.database import Database
from workflows_core.storage.json_text import json_text
from workflows_core.storage.run_writes import write_in
from workflows_core.storage.statements import coded_errors
from workflows_core.wire.records import ActionKey, LastAnswer, RunWrite, StepRecord

_COMPLETE = text(
    """
    SELECT workflow_complete_last_action(
        CAST(:write AS jsonb), CAST(:end AS jsonb), CAST(:step AS jsonb), :token, :execution, :semantics)
    """
)
_END = text(
    """
    SELECT r.status, i.output_json, i.completed_at
      FROM workflow_runs r
      JOIN workflow_action_invocations i ON i.tenant = r.tenant AND i.run_id = r.run_id
     WHERE r.tenant = :tenant AND r.run_id = :run_id AND workflow_is_final(r.status)
       AND (r.generation, r.sequence) = (:generation, :sequence)
       AND i.action_id = :action_id AND i.action_version = :action_version AND i.idempotency_key = :idempotency_key
    """
)


async def complete_last(
    conn: AsyncConnection, write: RunWrite, end: RunWrite, step: StepRecord, token: str, execution: str
) -> bool:
    """Writes an action's end and its run's; repeating it changes nothing.

    Args:
        conn: A transaction, or a connection for a single statement.
        write: What the call carries.
        end: The run's final write, with all that `write` has and the action's own row.
        step: The action's row; `invocation` is the ledger's part.
        token: The start that ended.
        execution: As for `run_writes.write_run`.

    Returns:
        Whether the run has ended. If not, another start owns the action and nothing is written, or the run has gone on
        without it and `write` is.

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
    with coded_errors():
        return bool((await conn.execute(_COMPLETE, values)).scalar_one())


async def end_of(db: Database, write: RunWrite, key: ActionKey) -> LastAnswer | None:
    """The answer of the call that carried `write`, if it has ended the run."""
    async with db.tenant(write["tenant"]) as conn:
        return await _end_in(conn, write["tenant"], write["run_id"], write["generation"], write["sequence"] + 1, key)


async def revoke(db: Database, write: RunWrite, execution: str, end: int, key: ActionKey) -> LastAnswer | None:
    """Writes for a run that does not know how its last action ended, so that the action cannot end it any more.

    Args:
        db: Where.
        write: Newer than what the action would write.
        execution: As for `run_writes.write_run`.
        end: Sequence of the end that the action would write.
        key: Of the action.

    Returns:
        The action's answer if it has ended the run before.
    """
    async with db.tenant(write["tenant"]) as conn:
        await write_in(conn, write, execution)
        return await _end_in(conn, write["tenant"], write["run_id"], write["generation"], end, key)


async def _end_in(
    conn: AsyncConnection, tenant: str, run_id: str, generation: int, sequence: int, key: ActionKey
) -> LastAnswer | None:
    values: dict[str, Any] = {
        "tenant": tenant,
        "run_id": run_id,
        "generation": generation,
        "sequence": sequence,
        "action_id": key["action_id"],
        "action_version": key["action_version"],
        "idempotency_key": key["idempotency_key"],
    }
    row = (await conn.execute(_END, values)).mappings().one_or_none()
    if row is None:
        return None
    at: datetime = row["completed_at"]
    return {"output": row["output_json"], "ended": {"status": row["status"], "at": round(at.timestamp() * 1000)}}
