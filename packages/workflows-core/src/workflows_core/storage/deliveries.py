"""Statements of the sender: what is ready, what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Json
from workflows_core.storage.database import Database
from workflows_core.storage.run_writes import look_back_again
from workflows_core.storage.statements import rows_of

_READY = text("SELECT tenant, delivery_id FROM workflow_ready_deliveries(:limit)")
# Not `occurred_at`, which nothing here needs: a time that Python does not have would fail the whole batch.
_TAKE = text(
    "SELECT delivery_id, event_id, target_kind, target_id, run_id, key, attempts, event_name, correlation_key, payload,"
    " payload_schema_ref, created_at FROM workflow_take_deliveries(:tenant, CAST(:ids AS text[]), :lease)"
)
_ACCEPT = text("SELECT workflow_accept_deliveries(:tenant, CAST(:ids AS text[]))")
_DECIDED = text(
    """
    UPDATE workflow_event_deliveries SET
        status = :status, reason = :reason, attempts = attempts + 1, decided_at = clock_timestamp()
     WHERE tenant = :tenant AND delivery_id = :delivery_id AND status = 'new'
    """
)
_LATER = text(
    """
    UPDATE workflow_event_deliveries SET next_attempt_at = clock_timestamp() + make_interval(secs => :delay)
     WHERE tenant = :tenant AND delivery_id = :delivery_id AND status = 'new'
    """
)
_LOCK = text("SELECT workflow_lock_keys(:tenant, CAST(:names AS text[]), CAST(:keys AS text[]))")
_FAILED = text(
    """
    UPDATE workflow_event_deliveries SET
        attempts = attempts + 1, reason = :reason,
        status = CASE WHEN attempts + 1 >= CAST(:max_attempts AS integer) THEN 'dead' ELSE status END,
        next_attempt_at = clock_timestamp() + make_interval(secs => :delay)
     WHERE tenant = :tenant AND delivery_id = :delivery_id AND status = 'new'
    RETURNING status
    """
)
# The run's id stays, so that it starts once however often this is done.
_START_AGAIN = text(
    """
    WITH again AS (
        UPDATE workflow_event_deliveries SET
            status = 'new', attempts = 0, reason = NULL, decided_at = NULL, next_attempt_at = clock_timestamp()
         WHERE tenant = current_setting('workflows.tenant') AND event_id = :event_id AND target_kind = 'start'
           AND target_id = :workflow_id AND status IN ('dead', 'undeliverable')
        RETURNING delivery_id)
    SELECT pg_notify('workflow_events', 'delivery') FROM again
    """
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery to send, with its event. `attempts` that failed so far."""

    tenant: str
    delivery_id: str
    event_id: str
    target_kind: Literal["wait", "start"]
    target_id: str
    run_id: str
    key: str | None
    attempts: int
    event_name: str
    correlation_key: str | None
    payload: Json
    payload_schema_ref: str | None
    created_at: datetime


async def ready_deliveries(db: Database, limit: int) -> list[tuple[str, str]]:
    """(tenant, delivery id) of deliveries that are due, of all tenants.

    At most one per key and target run: the next one is ready when this one has left `new`.
    """
    return [(row["tenant"], row["delivery_id"]) for row in await rows_of(db, _READY, {"limit": limit})]


async def take_deliveries(db: Database, tenant: str, ids: Sequence[str], lease_seconds: float) -> list[Delivery]:
    """Takes deliveries for a while, so that two processes rarely send one twice; a repeat does no harm."""
    rows = await rows_of(db, _TAKE, {"tenant": tenant, "ids": list(ids), "lease": lease_seconds})
    return [Delivery(tenant=tenant, **row) for row in rows]


async def mark_accepted(db: Database, tenant: str, ids: Sequence[str]) -> None:
    """Temporal has the signals. Only what is still `new` changes: the runs may have been quicker."""
    await rows_of(db, _ACCEPT, {"tenant": tenant, "ids": list(ids)})


async def mark_decided(
    conn: AsyncConnection, delivery: Delivery, status: Literal["consumed", "undeliverable"], reason: str | None
) -> None:
    """A delivery that starts a run has its verdict."""
    await rows_of(conn, _DECIDED, {**_id(delivery), "status": status, "reason": reason})


async def send_later(conn: AsyncConnection, delivery: Delivery, delay_seconds: float) -> None:
    """Tries again after a while; nothing else is written."""
    await conn.execute(_LATER, {**_id(delivery), "delay": delay_seconds})


async def delivery_failed(
    conn: AsyncConnection, delivery: Delivery, reason: str, *, delay_seconds: float, max_attempts: int | None
) -> str | None:
    """Counts a failed attempt; after the last one the delivery is `dead`. Its status, None when not `new`.

    `max_attempts` None: it is tried for ever, because the fault is not the delivery's. The wait of one that is dead is
    free for the next event it may have missed.
    """
    of_wait = delivery.target_kind == "wait" and delivery.key is not None
    if of_wait and max_attempts is not None:
        if delivery.attempts + 1 >= max_attempts:
            # Keys are locked before rows of deliveries (docs/adr/0006).
            lock = {"tenant": delivery.tenant, "names": [delivery.event_name], "keys": [delivery.key]}
            await conn.execute(_LOCK, lock)
        else:
            # Others may have counted further meanwhile: without the lock it is not dead yet, but at the next attempt.
            max_attempts = None
    values = {**_id(delivery), "reason": reason, "delay": delay_seconds, "max_attempts": max_attempts}
    status: str | None = (await conn.execute(_FAILED, values)).scalar_one_or_none()
    if of_wait and status == "dead":
        await look_back_again(conn, delivery.tenant, delivery.target_id)
    return status


async def start_again(
    conn: AsyncConnection, tenant: str, event_id: str, event_name: str, keys: Sequence[str], workflow_id: str
) -> bool:
    """Tries again the start of a workflow by an event that is `dead` or `undeliverable`; False when there is none.

    A start that has a run already begins no second one. `keys` are the event's.
    """
    # Keys are locked before rows of deliveries (docs/adr/0006).
    await conn.execute(_LOCK, {"tenant": tenant, "names": [event_name] * len(keys), "keys": list(keys)})
    found = await conn.execute(_START_AGAIN, {"event_id": event_id, "workflow_id": workflow_id})
    return len(found.all()) > 0


def _id(delivery: Delivery) -> dict[str, str]:
    return {"tenant": delivery.tenant, "delivery_id": delivery.delivery_id}
