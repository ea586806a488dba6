"""The ledger of action calls: who may run a handler, and whose end counts.

Each start of a handler has an owner token of its own. A start that lives on after its time-out has lost
the row to its successor, and nothing of it is written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Json
from workflows_core.interpreter.state import SEMANTICS_VERSION
from workflows_core.storage.database import Database
from workflows_core.storage.json_text import json_text
from workflows_core.storage.run_writes import is_bare, write_in
from workflows_core.storage.statements import rows_of, value_of
from workflows_core.wire.records import ActionCall, RunWrite, StepRecord, StepStatus

_START = text("SELECT * FROM workflow_start_action(CAST(:call AS jsonb), :token, :semantics)")
_ANNOUNCE = text("SELECT workflow_announce_action(CAST(:call AS jsonb), :token, :semantics)")
_RELEASE = text("SELECT workflow_release_action(CAST(:call AS jsonb), :token)")
_SETTLE = text("SELECT workflow_settle_action(CAST(:write AS jsonb), CAST(:step AS jsonb), :token, :semantics)")
_COMPLETE = text(
    "SELECT workflow_complete_action(CAST(:write AS jsonb), CAST(:step AS jsonb), :token, :execution, :semantics)"
)
_IS_OWN = text(
    "SELECT run_id = :run_id AND step_path = :step_path FROM workflow_action_invocations WHERE tenant = :tenant"
    " AND action_id = :action_id AND action_version = :action_version AND idempotency_key = :idempotency_key"
)

_IS_TOLD = text(
    "SELECT EXISTS (SELECT FROM workflow_run_steps WHERE tenant = :tenant AND run_id = :run_id"
    " AND step_path = :step_path AND visit = :visit AND attempt = :attempt AND status = :status)"
)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A call's row as a later start found it.

    Attributes:
        status: None when there was no row.
        attempt: Authored attempt it was in, 0 without a row.
        starts: How often a handler had been started, 0 without a row.
        output: What it gave, when it SUCCEEDED.
        error: `Failure.to_json()`, when it FAILED.
        taken: True when this start owns the row now and may run the handler. False for a call that
            SUCCEEDED, and for one that FAILED in this very attempt: its end is to be answered again.
        suspect: It has lost three starts or more: it may run alone only, and is not taken before.
        crashes: How many starts it lost while it ran alone.
    """

    status: Literal["STARTED", "SUCCEEDED", "FAILED"] | None
    attempt: int
    starts: int
    output: Json
    error: Mapping[str, Any] | None
    taken: bool
    suspect: bool
    crashes: int


async def start_again(db: Database, call: ActionCall, token: str, *, lost: int = 0, alone: bool = False) -> LedgerEntry:
    """Records a start that may not be the first; takes over a row left STARTED, or FAILED by an earlier attempt.

    Args:
        db: Where.
        call: The call.
        token: Of this start.
        lost: Starts that were lost before any of them had a row.
        alone: This start runs beside no other suspect of its process.
    """
    return await _start(db, call, token, lost=lost, alone=alone)


async def is_own(db: Database, call: ActionCall) -> bool:
    """Whether the row of the call's key is that of its own run and step; calls with an authored key may share one."""
    names = ("step_path", "action_id", "action_version", "idempotency_key")
    values = {name: call[name] for name in names}  # type: ignore[literal-required]
    write = call["write"]
    async with db.tenant(write["tenant"]) as conn:
        return bool(await value_of(conn, _IS_OWN, {**values, "tenant": write["tenant"], "run_id": write["run_id"]}))


async def is_told(db: Database, call: ActionCall, status: StepStatus) -> bool:
    """Whether the step's own row says already that it ended so in this attempt, with the times of that."""
    write = call["write"]
    values = {name: call[name] for name in ("step_path", "visit", "attempt")}
    values |= {"tenant": write["tenant"], "run_id": write["run_id"], "status": status}
    async with db.tenant(write["tenant"]) as conn:
        return bool(await value_of(conn, _IS_TOLD, values))


async def release(db: Database, call: ActionCall, token: str) -> None:
    """Says that a start was interrupted in an orderly way: the next one does not take it for a crash."""
    await rows_of(db, _RELEASE, _call_values(call, token))


async def announce(db: Database, call: ActionCall, token: str) -> None:
    """Makes a handler visible that runs longer than a second; a row that has moved on is left alone."""
    await rows_of(db, _ANNOUNCE, _call_values(call, token))


async def complete(db: Database, call: ActionCall, step: StepRecord, token: str, execution: str) -> bool:
    """Writes an action's end with all it carries, in one transaction; repeating it changes nothing.

    Args:
        db: Where.
        call: The call that ended.
        step: Its row; `invocation` is the ledger's part.
        token: The start that ended.
        execution: As for `run_writes.write_run`.

    Returns:
        False when another start owns the row; nothing is written then.

    Raises:
        RunReset: The execution is not the run's own; nothing is written.
    """
    write = call["write"]
    if is_bare(write):
        values = {**_end_values(write, step, token), "execution": execution}
        return bool(await value_of(db, _COMPLETE, values))
    async with db.tenant(write["tenant"]) as conn:
        return await complete_in(conn, call, step, token, execution)


async def complete_in(conn: AsyncConnection, call: ActionCall, step: StepRecord, token: str, execution: str) -> bool:
    """As `complete`, in a transaction whose tenant is set."""
    write = call["write"]
    if not await value_of(conn, _SETTLE, _end_values(write, step, token)):
        return False
    settled: StepRecord = {**step, "invocation": None}
    await write_in(conn, {**write, "steps": [*write["steps"], settled]}, execution)
    return True


@asynccontextmanager
async def completing(db: Database, call: ActionCall, token: str) -> AsyncIterator[tuple[AsyncConnection, LedgerEntry]]:
    """A transaction that holds the call's row, for an action whose effect is in this very database.

    The handler runs inside, then `complete_in`: effect and record are one. Where the entry is not
    `taken`, the stored end is the answer and nothing is to be done.
    """
    async with db.tenant(call["write"]["tenant"]) as conn:
        before = await _start(conn, call, token)
        yield conn, before


async def _start(
    where: Database | AsyncConnection, call: ActionCall, token: str, *, lost: int = 0, alone: bool | None = None
) -> LedgerEntry:
    values = _call_values(call, token, lost=lost, alone=alone)
    [row] = await rows_of(where, _START, values)
    return LedgerEntry(
        status=row["status"],
        attempt=row["attempt"],
        starts=row["starts"],
        output=row["output_json"],
        error=row["error_json"],
        taken=row["taken"],
        suspect=row["suspect"],
        crashes=row["crashes"],
    )


def _call_values(call: ActionCall, token: str, **facts: int | bool | None) -> dict[str, Any]:
    write = call["write"]
    # Starting a call needs the run's identity of the write, not what travels with its end.
    identity = {
        "tenant": write["tenant"],
        "run_id": write["run_id"],
        "workflow_id": write["workflow_id"],
        "workflow_version": write["workflow_version"],
        "definition_hash": write["definition_hash"],
        "trigger_type": write["trigger_type"],
        "generation": write["generation"],
        "sequence": write["sequence"],
    }
    slim = {**call, "write": identity, **facts}
    return {"call": json_text(slim), "token": token, "semantics": SEMANTICS_VERSION}


def _end_values(write: RunWrite, step: StepRecord, token: str) -> dict[str, Any]:
    return {"write": json_text(write), "step": json_text(step), "token": token, "semantics": SEMANTICS_VERSION}
