"""The event stream: publishing, reading."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Json
from workflows_core.storage.new_events import NewEvent, insert_event
from workflows_core.storage.rows import Row

UNMATCHED: Final = "unmatched"
"""Of events that were routed and have no delivery: no wait was open for them and they start no workflow."""

_PAYLOADS = text(
    "SELECT event_id, payload FROM workflow_runtime_events"
    " WHERE tenant = current_setting('workflows.tenant') AND event_id = ANY(CAST(:ids AS text[]))"
)
MAX_DELIVERIES: Final = 100
"""Of an event that are read with it: starts first, then those that came to nothing, then the oldest."""

_EVENTS = f"""
    SELECT e.event_id, e.event_name, e.correlation_keys, e.payload::text AS payload, e.status, e.attempts, e.created_at,
           e.processed_at, e.error_message, e.replay_of, e.payload_schema_ref,
           CASE WHEN e.occurred_at BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-30 00:00:00+00' THEN e.occurred_at END
               AS occurred_at,
           coalesce((SELECT jsonb_agg(jsonb_build_object(
                         'deliveryId', d.delivery_id, 'targetKind', d.target_kind, 'targetId', d.target_id,
                         'workflowKey', (SELECT w.key FROM workflow_definitions w
                                          WHERE d.target_kind = 'start' AND w.tenant = d.tenant
                                            AND w.workflow_id = d.target_id),
                         'runId', d.run_id, 'status', d.status, 'attempts', d.attempts, 'reason', d.reason)
                         ORDER BY d.ordinal)
                       FROM (SELECT * FROM workflow_event_deliveries o
                              WHERE o.tenant = e.tenant AND o.event_id = e.event_id
                              ORDER BY o.target_kind, o.status IN ('new', 'accepted', 'consumed'), o.ordinal
                              LIMIT {MAX_DELIVERIES}) AS d), '[]') AS deliveries,
           (SELECT count(*) FROM workflow_event_deliveries o
             WHERE o.tenant = e.tenant AND o.event_id = e.event_id) AS delivery_count
      FROM workflow_runtime_events e
     WHERE e.tenant = current_setting('workflows.tenant')
"""  # noqa: S608 - a constant of ours
_OF_NAME = "AND (CAST(:name AS text) IS NULL OR e.event_name = :name)"
_NEWEST = "ORDER BY e.created_at DESC, e.event_id DESC LIMIT :limit"
_LIST = text(
    f"""{_EVENTS} {_OF_NAME}
       AND (CAST(:status AS text) IS NULL OR e.status = :status
            OR EXISTS (SELECT 1 FROM workflow_event_deliveries d
                        WHERE d.tenant = e.tenant AND d.event_id = e.event_id AND d.status = :status))
     {_NEWEST}
    """  # noqa: S608 - constants of ours
)


def _few(status: str, *tables: str) -> TextClause:
    """As `_LIST`, for a status that few rows have: by their partial indexes, which need it as a literal."""
    ids = " UNION ".join(
        f"SELECT x.event_id FROM {table} x"  # noqa: S608 - constants of ours
        f" WHERE x.tenant = current_setting('workflows.tenant') AND x.status = '{status}'"
        for table in tables
    )
    return text(f"{_EVENTS} {_OF_NAME} AND e.event_id = ANY (ARRAY({ids})) {_NEWEST}")


_CONCERNS_NOBODY = (
    "e.status = 'routed' AND NOT EXISTS (SELECT 1 FROM workflow_event_deliveries d"
    " WHERE d.tenant = e.tenant AND d.event_id = e.event_id)"
)
_BY_STATUS: Final = {
    UNMATCHED: text(f"{_EVENTS} {_OF_NAME} AND {_CONCERNS_NOBODY} {_NEWEST}"),
    "pending": _few("pending", "workflow_runtime_events"),
    "dead": _few("dead", "workflow_runtime_events", "workflow_event_deliveries"),
    **{status: _few(status, "workflow_event_deliveries") for status in ("new", "late", "unknown", "undeliverable")},
}
_COUNT = text(
    f"""
    WITH found AS (
        SELECT e.event_id, e.event_name, e.status, e.created_at, {_CONCERNS_NOBODY} AS concerns_nobody
          FROM workflow_runtime_events e
         WHERE e.tenant = current_setting('workflows.tenant') {_OF_NAME}
           AND e.created_at >= :since AND (CAST(:until AS timestamptz) IS NULL OR e.created_at < :until))
    SELECT v.event_name, v.verdict, count(*) AS events, max(v.created_at) AS newest
      FROM (SELECT f.event_id, f.event_name, f.created_at, f.status AS verdict FROM found f
            UNION
            SELECT f.event_id, f.event_name, f.created_at, '{UNMATCHED}' FROM found f WHERE f.concerns_nobody
            UNION
            SELECT f.event_id, f.event_name, f.created_at, d.status FROM found f
              JOIN workflow_event_deliveries d
                ON d.tenant = current_setting('workflows.tenant') AND d.event_id = f.event_id) AS v
     GROUP BY v.event_name, v.verdict
     ORDER BY v.event_name, v.verdict
     LIMIT :limit
    """  # noqa: S608 - constants of ours
)
_GET = text(f"{_EVENTS} AND e.event_id = :event_id")
_IN_WINDOW = f"""
    {_OF_NAME} AND e.created_at >= :since AND (CAST(:until AS timestamptz) IS NULL OR e.created_at < :until)
       AND (:with_replays OR e.replay_of IS NULL)
"""
_BETWEEN = text(
    f"""{_EVENTS} {_IN_WINDOW}
       AND e.status <> 'pending' AND e.event_id <> ALL (CAST(:left_out AS text[]))
     ORDER BY e.created_at, e.event_id
     LIMIT :limit
    """
)
_PENDING_BETWEEN = text(
    "SELECT count(*) FROM workflow_runtime_events e"  # noqa: S608 - a constant of ours
    f" WHERE e.tenant = current_setting('workflows.tenant') AND e.status = 'pending' {_IN_WINDOW}"
)
# A replay is no older than what it repeats: so it is found by an index.
_REPLAYED = text(
    f"""
    SELECT e.event_id, e.event_name, array_agg(r.event_id ORDER BY r.created_at, r.event_id) AS replays
      FROM workflow_runtime_events r
      JOIN workflow_runtime_events e ON e.tenant = r.tenant AND e.event_id = r.replay_of
     WHERE r.tenant = current_setting('workflows.tenant') AND r.created_at >= :since AND r.replay_of IS NOT NULL
       AND (CAST(:event_id AS text) IS NULL OR e.event_id = :event_id) {_IN_WINDOW}
     GROUP BY e.tenant, e.event_id
     ORDER BY e.created_at, e.event_id
    """  # noqa: S608 - a constant of ours
)
# Whoever replays sees what the one before has replayed.
_REPLAY_ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended(current_setting('workflows.tenant'), 13))")
_REPLAY = text(
    "UPDATE workflow_runtime_events SET replay_of = :original"
    " WHERE tenant = current_setting('workflows.tenant') AND event_id = :event_id"
)
_REQUEUE = text("SELECT workflow_requeue_event(:tenant, :event_id)")


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event and what became of it.

    Attributes:
        event_id: Unique in its tenant.
        event_name: Its name.
        keys: Correlation keys; derived ones are there once it is routed.
        payload: Its payload; None where it cannot be read.
        status: `pending`, `routed` or `dead`.
        attempts: Failed attempts to route it.
        created_at: When it was published.
        processed_at: When it was routed.
        error_message: Why it could not be routed.
        unreadable: Why its payload cannot be read; None for nearly every event.
        replay_of: The event that it repeats.
        payload_schema_ref: The payload's schema, as the publisher named it.
        occurred_at: The publisher's own time; None also where no process has such a time.
        deliveries: One per run it goes to, `MAX_DELIVERIES` at most: deliveryId, targetKind, targetId, workflowKey (of
            a start), runId, status, attempts, reason.
        delivery_count: How many it has.
    """

    event_id: str
    event_name: str
    keys: tuple[str, ...]
    payload: Json
    status: str
    attempts: int
    created_at: datetime
    processed_at: datetime | None
    error_message: str | None
    unreadable: str | None
    replay_of: str | None
    payload_schema_ref: str | None
    occurred_at: datetime | None
    deliveries: tuple[Mapping[str, Any], ...]
    delivery_count: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready but for the times, which stay `datetime`."""
        return {
            "eventId": self.event_id,
            "eventName": self.event_name,
            "keys": list(self.keys),
            "payload": self.payload,
            "status": self.status,
            "attempts": self.attempts,
            "createdAt": self.created_at,
            "processedAt": self.processed_at,
            "errorMessage": self.error_message,
            "replayOf": self.replay_of,
            "payloadSchemaRef": self.payload_schema_ref,
            "occurredAt": self.occurred_at,
            **({} if self.unreadable is None else {"unreadable": self.unreadable}),
            "deliveries": [dict(delivery) for delivery in self.deliveries],
            "deliveryCount": self.delivery_count,
        }


@dataclass(frozen=True, slots=True)
class EventCount(Row):
    """How many events of a name `list_events` has for a status; `newest` is when the last of them was published."""

    event_name: str
    verdict: str
    events: int
    newest: datetime


@dataclass(frozen=True, slots=True)
class ReplayedEvent(Row):
    """An event that was replayed, and the ids of its replays, oldest first."""

    event_id: str
    event_name: str
    replays: list[str]


async def publish_event(
    conn: AsyncConnection,
    *,
    tenant: str,
    event_id: str,
    event_name: str,
    payload: Json = None,
    correlation_key: str | None = None,
    correlation_keys: Sequence[str] | None = None,
    payload_schema_ref: str | None = None,
    occurred_at: datetime | None = None,
    none_is_null: bool = False,
) -> bool:
    """Publishes in the caller's transaction: the event is there if and only if that commits.

    Args:
        conn: Connection in a transaction.
        tenant: Tenant of the event.
        event_id: The same id is published once.
        event_name: Name that waits and triggers know.
        payload: JSON value; None counts as `{}`.
        correlation_key: The publisher's key. Without one, or with a blank one, keys are derived from the payload.
        correlation_keys: Several of them, in order, 100 at most; replaces `correlation_key`. Blank ones are left out.
        payload_schema_ref: Name of the payload's schema.
        occurred_at: The publisher's own time, aware: when it happened, so that a repeat has the same.
        none_is_null: A payload None is JSON's null, and not `{}`.

    Returns:
        False when the tenant has an event of this id already; nothing changes then.

    Raises:
        Refused: `EVENT_INVALID`, with everything that is wrong; `EVENT_CONFLICT`, the id is taken by another content.
    """
    event = NewEvent.of(
        tenant=tenant,
        event_id=event_id,
        event_name=event_name,
        payload={} if payload is None and not none_is_null else payload,
        keys=[correlation_key] if correlation_keys is None else correlation_keys,
        payload_schema_ref=payload_schema_ref,
        occurred_at=occurred_at,
    )
    return await insert_event(conn, event)


async def list_events(
    conn: AsyncConnection, *, name: str | None = None, status: str | None = None, limit: int = 50
) -> list[EventRow]:
    """Events of the tenant with their deliveries, newest first.

    Args:
        conn: Connection whose transaction has its tenant set.
        name: Only events of this name.
        status: Only events with this status, or with a delivery that has it; `unmatched`: routed, and to nobody.
        limit: At most so many.
    """
    values = {"name": name, "limit": limit}
    of_status = _BY_STATUS.get(status or "")
    found = conn.execute(_LIST, {**values, "status": status}) if of_status is None else conn.execute(of_status, values)
    return [_event(row) for row in (await found).mappings()]


async def count_events(
    conn: AsyncConnection, name: str | None, since: datetime, until: datetime | None, limit: int
) -> list[EventCount]:
    """Events of the tenant by name and what became of them, of those that were published in a window of time.

    An event counts once for its own status, and once for each that its deliveries have.
    """
    values = {"name": name, "since": since, "until": until, "limit": limit}
    return [EventCount.of(row) for row in await conn.execute(_COUNT, values)]


async def get_event(conn: AsyncConnection, event_id: str) -> EventRow | None:
    """One event of the tenant, or None."""
    row = (await conn.execute(_GET, {"event_id": event_id})).mappings().one_or_none()
    return None if row is None else _event(row)


async def events_between(
    conn: AsyncConnection,
    name: str | None,
    since: datetime,
    until: datetime | None,
    limit: int,
    *,
    with_replays: bool = False,
    left_out: Collection[str] = (),
) -> list[EventRow]:
    """Events of the tenant by their time of publishing, oldest first, but for those that are still to be routed.

    Those that repeat others only when asked for.
    """
    values = {
        "name": name,
        "since": since,
        "until": until,
        "limit": limit,
        "with_replays": with_replays,
        "left_out": list(left_out),
    }
    return [_event(row) for row in (await conn.execute(_BETWEEN, values)).mappings()]


async def pending_between(
    conn: AsyncConnection, name: str | None, since: datetime, until: datetime | None, *, with_replays: bool = False
) -> int:
    """How many events of the same window are still to be routed."""
    values = {"name": name, "since": since, "until": until, "with_replays": with_replays}
    return int((await conn.execute(_PENDING_BETWEEN, values)).scalar_one())


async def replayed_events(
    conn: AsyncConnection,
    event_id: str | None,
    name: str | None,
    since: datetime,
    until: datetime | None,
    *,
    with_replays: bool = False,
) -> list[ReplayedEvent]:
    """Those of the same events, or one of them by its id, that were replayed already."""
    values = {"event_id": event_id, "name": name, "since": since, "until": until, "with_replays": with_replays}
    return [ReplayedEvent.of(row) for row in await conn.execute(_REPLAYED, values)]


async def replay_alone(conn: AsyncConnection) -> None:
    """Until the transaction ends nobody else replays events of the tenant."""
    await conn.execute(_REPLAY_ALONE)


async def mark_replay(conn: AsyncConnection, event_id: str, original: str) -> None:
    """Says which event another one repeats."""
    await conn.execute(_REPLAY, {"event_id": event_id, "original": original})


async def requeue(conn: AsyncConnection, tenant: str, event_id: str) -> dict[str, Any] | None:
    """Sets going again what is dead: `event`, `deliveries`, `claims`; None when there is no such event."""
    found: dict[str, Any] | None = (await conn.execute(_REQUEUE, {"tenant": tenant, "event_id": event_id})).scalar_one()
    return found


def _event(row: Mapping[Any, Any]) -> EventRow:
    payload, unreadable = None, None
    try:
        payload = json.loads(row["payload"])
    except (ValueError, RecursionError) as error:
        # Written past all checks: told, so that it can be found among the others.
        unreadable = str(error)
    return EventRow(
        event_id=row["event_id"],
        event_name=row["event_name"],
        keys=tuple(row["correlation_keys"]),
        payload=payload,
        status=row["status"],
        attempts=row["attempts"],
        created_at=row["created_at"],
        processed_at=row["processed_at"],
        error_message=row["error_message"],
        unreadable=unreadable,
        replay_of=row["replay_of"],
        payload_schema_ref=row["payload_schema_ref"],
        occurred_at=row["occurred_at"],
        deliveries=tuple(row["deliveries"]),
        delivery_count=row["delivery_count"],
    )


async def event_payloads(conn: AsyncConnection, event_ids: Collection[str]) -> dict[str, Json]:
    """Payloads by event id, of those that the tenant has."""
    if not event_ids:
        return {}
    found = await conn.execute(_PAYLOADS, {"ids": sorted(event_ids)})
    return {row.event_id: row.payload for row in found}
