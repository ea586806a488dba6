"""Makes what runs write, and reads what came of it."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import text

from workflows_core.storage.database import Database
from workflows_core.storage.events import publish_event
from workflows_core.wire.records import (
    ActionCall,
    ClosedRecord,
    ConsumedRecord,
    LogRecord,
    RunWrite,
    StepRecord,
    WaitRecord,
)

TENANT = "acme"
RUN = "run-1"
EXECUTION = "execution-1"
OPENED = 1_764_000_000_000
"""When the waits made here opened, milliseconds since the epoch; look-back begins long before."""


def a_write(sequence: int = 1, **changes: Any) -> RunWrite:
    """A write that says nothing of waits."""
    write = {
        "tenant": TENANT,
        "run_id": RUN,
        "workflow_id": "orders",
        "workflow_version": 1,
        "definition_hash": "hash",
        "trigger_type": None,
        "generation": 0,
        "sequence": sequence,
        "status": "RUNNING",
        "node_path": "root.steps[0]",
        "waiting_for": None,
        "steps": [],
        "consumed": [],
        "closed": [],
        "waits": None,
        "logs": [],
        "result_json": None,
        "error_json": None,
    }
    return cast(RunWrite, {**write, **changes})


def a_wait(wait_id: str = "wait-1", key: str | None = "key-1", **changes: Any) -> WaitRecord:
    """An open wait for event PAID."""
    wait = {
        "wait_id": wait_id,
        "step_path": "root.steps[1]",
        "visit": 1,
        "wait_type": "event",
        "event_name": "PAID",
        "key": key,
        "filters": [],
        "opened_at": OPENED,
        "timeout_at": None,
        "look_back_from": 0,
        "payload": {},
    }
    return cast(WaitRecord, {**wait, **changes})


def consumed(wait_id: str, event_id: str, delivery_id: str | None = None) -> ConsumedRecord:
    """The run took the event for the wait."""
    return {"wait_id": wait_id, "event_id": event_id, "delivery_id": delivery_id, "at": OPENED + 1000}


def closed(wait_id: str, outcome: str) -> ClosedRecord:
    """The wait ended without an event."""
    return cast(ClosedRecord, {"wait_id": wait_id, "outcome": outcome, "at": OPENED + 1000})


def a_log(message: str) -> LogRecord:
    """A line of the run's log."""
    return {"level": "INFO", "message": message, "step_path": None, "context_json": {"n": 1}, "at": OPENED}


def a_step(sequence: int, status: str = "SUCCEEDED", path: str = "root.steps[0]", **changes: Any) -> StepRecord:
    """The record of a step of the first generation."""
    step = {
        "step_path": path,
        "visit": 1,
        "definition_step_id": "first",
        "step_type": "action.call",
        "name": "First",
        "status": status,
        "attempt": 1,
        "started_at": OPENED,
        "completed_at": None if status in ("STARTED", "RETRY_SCHEDULED") else OPENED + 250,
        "output_json": {"n": sequence},
        "error_json": None,
        "generation": 0,
        "sequence": sequence,
        "invocation": None,
    }
    return cast(StepRecord, {**step, **changes})


def a_call(sequence: int = 1, attempt: int = 1, **changes: Any) -> ActionCall:
    """A call of `mail.send@1` that carries a write."""
    call = {
        "step_path": "root.steps[0]",
        "visit": 1,
        "definition_step_id": "first",
        "name": "First",
        "attempt": attempt,
        "action_id": "mail.send",
        "action_version": 1,
        "idempotency_key": "call-1",
        "authored_key": False,
        "input": {"to": "a@example.org"},
        "write": a_write(sequence),
    }
    return cast(ActionCall, {**call, **changes})


def an_end(call: ActionCall, status: str = "SUCCEEDED", output: Any = None) -> StepRecord:
    """The step record with which a call ends."""
    error = {"category": "ActionError", "message": "no"} if status == "FAILED" else None
    invocation = {
        "action_id": call["action_id"],
        "action_version": call["action_version"],
        "idempotency_key": call["idempotency_key"],
        "status": status,
        "attempt": call["attempt"],
        "input_json": call["input"],
        "output_json": output,
        "error_json": error,
    }
    return a_step(
        call["write"]["sequence"],
        status,
        call["step_path"],
        attempt=call["attempt"],
        output_json=output,
        error_json=error,
        invocation=invocation,
    )


async def rows(db: Database, table: str, *, tenant: str = TENANT, order: str = "1") -> list[dict[str, Any]]:
    """All rows of a table that the tenant sees."""
    async with db.tenant(tenant) as conn:
        found = await conn.execute(text(f"SELECT * FROM {table} ORDER BY {order}"))
        return [dict(row) for row in found.mappings()]


async def run_row(db: Database) -> dict[str, Any]:
    """The row of `RUN`."""
    (row,) = [row for row in await rows(db, "workflow_runs") if row["run_id"] == RUN]
    return row


async def waits_of(db: Database) -> dict[str, str]:
    """Status by wait id."""
    return {row["wait_id"]: row["status"] for row in await rows(db, "workflow_run_waits")}


async def deliveries_of(db: Database) -> dict[tuple[str, str], str]:
    """Status by (event id, target id)."""
    found = await rows(db, "workflow_event_deliveries")
    return {(row["event_id"], row["target_id"]): row["status"] for row in found}


async def publish(db: Database, event_id: str, key: str | None = "key-1", **fields: Any) -> bool:
    """Publishes PAID."""
    tenant = fields.pop("tenant", TENANT)
    async with db.tenant(tenant) as conn:
        return await publish_event(
            conn,
            tenant=tenant,
            event_id=event_id,
            event_name=fields.pop("event_name", "PAID"),
            correlation_key=key,
            payload=fields.pop("payload", {"amount": 5}),
            **fields,
        )
