"""Statements of the router: pending events, their claim, what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Json
from workflows_core.storage.database import Database
from workflows_core.storage.json_text import json_text
from workflows_core.storage.statements import rows_of, value_of

_PENDING = text("SELECT tenant, event_id FROM workflow_pending_events(:limit)")
_TAKE = text("SELECT workflow_take_pending_event(:tenant, :event_id, :most)")
_TAKE_NEXT = text("SELECT workflow_take_next_event(:most)")
_STORED_KEYS = text(
    "SELECT event_id, correlation_keys FROM workflow_runtime_events"
    " WHERE tenant = :tenant AND event_id = ANY(CAST(:event_ids AS text[]))"
)
_CLAIM = text("SELECT workflow_claim_event(:tenant, :event_id, :event_name, CAST(:keys AS text[]), :most)")
_MORE_WAITS = text(
    "SELECT workflow_waits_of_event("
    ":tenant, :event_id, :event_name, CAST(:keys AS text[]), CAST(:after AS timestamptz), :after_id, :most)"
)
_AWAITED = text(
    "SELECT EXISTS (SELECT 1 FROM workflow_run_waits WHERE tenant = :tenant AND event_name = :event_name"
    " AND key = ANY(CAST(:keys AS text[])) AND status = 'WAITING')"
)
_CLAIM_FOR = text("SELECT workflow_claim(:tenant, :event_id, :wait_id, :run_id)")
_SETTLE = text("SELECT workflow_settle_event(:tenant, :event_id, CAST(:deliveries AS jsonb), :lease)")
_ATTEMPTS = text(
    "SELECT attempts, error_message IS NOT NULL AS noted FROM workflow_runtime_events"
    " WHERE tenant = :tenant AND event_id = :event_id AND status = 'pending' FOR UPDATE SKIP LOCKED"
)
_FAILED = text(
    """
    UPDATE workflow_runtime_events SET
        attempts = attempts + CASE WHEN CAST(:max_attempts AS integer) IS NULL THEN 0 ELSE 1 END,
        error_message = :reason,
        status = CASE WHEN attempts + 1 >= CAST(:max_attempts AS integer) THEN 'dead' ELSE status END,
        next_attempt_at = clock_timestamp() + make_interval(secs => :delay)
     WHERE tenant = :tenant AND event_id = :event_id AND status = 'pending'
    RETURNING status
    """
)


MOST_WAITS = 5_000
"""As many waits as are read at a time, of the hundred thousands that an event may concern."""


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """An event to route.

    Attributes:
        tenant: Its tenant.
        event_id: Its id.
        event_name: Its name.
        correlation_key: The publisher's key.
        correlation_keys: The publisher's keys; derived ones once it was routed.
        payload: Its payload.
        created_at: When it was published.
        payload_schema_ref: As the publisher named it.
        attempts: That failed so far.
        again: It was routed before, and its claim was released.
        schema_ref: What its payload has to keep to, if the tenant has registered that.
        schema: The schema of that ref.
        starts: Ids of the published workflows that such an event starts; paused ones too, since that is a verdict.
        waits: As `claim_event` answers; None where the publisher named no key, so that nothing is claimed yet.
    """

    tenant: str
    event_id: str
    event_name: str
    correlation_key: str | None
    correlation_keys: tuple[str, ...]
    payload: Json
    created_at: datetime
    payload_schema_ref: str | None
    attempts: int
    again: bool
    schema_ref: str | None
    schema: Mapping[str, Any] | None
    starts: tuple[str, ...]
    waits: list[Mapping[str, Any]] | None


async def pending_events(db: Database, limit: int) -> list[tuple[str, str]]:
    """(tenant, event id) of events that are due, oldest first, of all tenants."""
    return [(row["tenant"], row["event_id"]) for row in await rows_of(db, _PENDING, {"limit": limit})]


async def take_event(conn: AsyncConnection, tenant: str, event_id: str) -> PendingEvent | None:
    """Sets the transaction's tenant, and takes the event; None when it is not pending any more."""
    found = await value_of(conn, _TAKE, {"tenant": tenant, "event_id": event_id, "most": MOST_WAITS})
    return None if found is None else _pending(found)


async def take_next_event(conn: AsyncConnection) -> PendingEvent | Literal["gone"] | None:
    """As `take_event`, the oldest event that is due, of any tenant; None when there is none.

    `gone` when another router was quicker. Does not wait for long for who holds its key or row.
    """
    found = await value_of(conn, _TAKE_NEXT, {"most": MOST_WAITS})
    if found is None:
        return None
    return _pending(found) if found else "gone"


def _pending(found: Mapping[str, Any]) -> PendingEvent:
    schema = found["schema"] or {}
    return PendingEvent(
        tenant=found["tenant"],
        event_id=found["event_id"],
        event_name=found["event_name"],
        correlation_key=found["correlation_key"],
        correlation_keys=tuple(found["correlation_keys"]),
        payload=found["payload"],
        created_at=datetime.fromisoformat(found["created_at"]),
        payload_schema_ref=found["payload_schema_ref"],
        attempts=found["attempts"],
        again=found["again"],
        schema_ref=schema.get("ref"),
        schema=schema.get("json"),
        starts=tuple(found["starts"]),
        waits=found["waits"],
    )


async def stored_keys(db: Database, tenant: str, event_ids: Sequence[str]) -> dict[str, list[str]]:
    """Keys of events as their rows have them: none where they are still to be derived from the content."""
    async with db.tenant(tenant) as conn:
        rows = await rows_of(conn, _STORED_KEYS, {"tenant": tenant, "event_ids": list(event_ids)})
    found = {row["event_id"]: row["correlation_keys"] for row in rows}
    return {event_id: found.get(event_id, []) for event_id in event_ids}


async def claim_event(
    conn: AsyncConnection, event: PendingEvent, keys: Sequence[str]
) -> list[Mapping[str, Any]] | None:
    """Locks the event's keys, then the event; the first `MOST_WAITS` open waits for its name and keys, oldest first.

    Each has wait_id, run_id, event_name, key, filters, created_at, match. None when another router was quicker.
    """
    found: list[Mapping[str, Any]] | None = await value_of(conn, _CLAIM, _of_keys(event, keys))
    return found


async def more_waits(
    conn: AsyncConnection, event: PendingEvent, keys: Sequence[str], last: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """As `claim_event`, the next ones behind the last one before, of an event that is claimed."""
    values = _of_keys(event, keys) | {"after": last["created_at"], "after_id": last["wait_id"]}
    found: list[Mapping[str, Any]] = await value_of(conn, _MORE_WAITS, values)
    return found


def _of_keys(event: PendingEvent, keys: Sequence[str]) -> dict[str, Any]:
    return {
        "tenant": event.tenant,
        "event_id": event.event_id,
        "event_name": event.event_name,
        "keys": list(keys),
        "most": MOST_WAITS,
    }


async def is_awaited(conn: AsyncConnection, event: PendingEvent, keys: Sequence[str]) -> bool:
    """Whether a wait is open for the event's name and one of its keys; the filters are not looked at."""
    values = {"tenant": event.tenant, "event_name": event.event_name, "keys": list(keys)}
    return bool(await value_of(conn, _AWAITED, values))


async def claim_for(conn: AsyncConnection, tenant: str, event_id: str, wait_id: str, run_id: str) -> bool:
    """Gives an event to one wait of those with `match: one`; False when another has claimed it."""
    values = {"tenant": tenant, "event_id": event_id, "wait_id": wait_id, "run_id": run_id}
    return bool(await value_of(conn, _CLAIM_FOR, values))


async def settle_event(
    conn: AsyncConnection, event: PendingEvent, deliveries: Sequence[Mapping[str, Any]], lease_seconds: float
) -> frozenset[str]:
    """Adds the deliveries; the event is `routed` as of now.

    Returns:
        Ids of those that are left to the caller for the time of the lease: new ones, none of which another one of
        its key and run goes before. None at all where the lease is 0.
    """
    values = {
        "tenant": event.tenant,
        "event_id": event.event_id,
        "deliveries": json_text(list(deliveries)),
        "lease": lease_seconds,
    }
    return frozenset(await value_of(conn, _SETTLE, values))


async def failed_attempts(conn: AsyncConnection, tenant: str, event_id: str) -> tuple[int, bool] | None:
    """Failed attempts to route an event, and whether one is noted, if it did not count; the event is locked then.

    None when it is not pending, or another router has it.

    Read without its content, which may be the reason, and without its keys, which somebody may hold.
    """
    values = {"tenant": tenant, "event_id": event_id}
    found = (await conn.execute(_ATTEMPTS, values)).one_or_none()
    return None if found is None else (found.attempts, found.noted)


async def event_failed(
    conn: AsyncConnection, tenant: str, event_id: str, reason: str, *, delay_seconds: float, max_attempts: int | None
) -> str | None:
    """Counts a failed attempt; after the last one the event is `dead`. None counts nothing: it is only put off.

    Returns:
        Its status, or None when it is not pending.
    """
    values = {
        "tenant": tenant,
        "event_id": event_id,
        "reason": reason,
        "delay": delay_seconds,
        "max_attempts": max_attempts,
    }
    status: str | None = (await conn.execute(_FAILED, values)).scalar_one_or_none()
    return status
