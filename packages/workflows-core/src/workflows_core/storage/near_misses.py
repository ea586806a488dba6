"""What explanations read: an event with the waits it could concern, a wait with the events it could match.

Every function needs a connection whose transaction has its tenant set.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.storage.rows import Row

_WAIT_COLUMNS = """w.wait_id, w.run_id, w.step_path, w.wait_type, w.event_name, w.key, w.filters, w.match, w.status,
           w.look_back_from, w.timeout_at, w.matched_event_id, w.created_at, w.resolved_at"""
# Each part in the order of an index, or of few rows; a name alone may be that of every row.
_WAITS_FOR = text(
    f"""
    WITH found AS (
        (SELECT w.wait_id FROM workflow_run_waits w
          WHERE w.tenant = current_setting('workflows.tenant') AND w.event_name = :event_name AND w.status = 'WAITING'
            AND w.key = ANY (CAST(:keys AS text[]))
          ORDER BY w.created_at DESC, w.wait_id LIMIT :limit)
        UNION
        (SELECT w.wait_id FROM workflow_run_waits w
          WHERE w.tenant = current_setting('workflows.tenant') AND w.event_name = :event_name AND w.status = 'WAITING'
          ORDER BY w.created_at DESC, w.wait_id LIMIT :limit)
        UNION
        (SELECT w.wait_id FROM workflow_run_waits w
          WHERE w.tenant = current_setting('workflows.tenant') AND w.event_name = :event_name AND w.status <> 'WAITING'
            AND w.resolved_at >= :since AND w.key = ANY (CAST(:keys AS text[]))
          ORDER BY w.created_at DESC, w.wait_id LIMIT :limit)
        UNION
        (SELECT w.wait_id FROM workflow_run_waits w
          WHERE w.tenant = current_setting('workflows.tenant') AND w.event_name = :event_name AND w.status <> 'WAITING'
            AND w.resolved_at >= :since
          ORDER BY w.created_at DESC, w.wait_id LIMIT :limit)
        UNION
        (SELECT d.target_id FROM workflow_event_deliveries d
          WHERE d.tenant = current_setting('workflows.tenant') AND d.event_id = :event_id AND d.target_kind = 'wait'
          ORDER BY d.ordinal LIMIT :limit))
    SELECT {_WAIT_COLUMNS}
      FROM workflow_run_waits w
     WHERE w.tenant = current_setting('workflows.tenant') AND w.wait_id = ANY (ARRAY(SELECT wait_id FROM found))
     ORDER BY w.key = ANY (CAST(:keys AS text[])) DESC, w.created_at DESC, w.wait_id
     LIMIT :limit
    """  # noqa: S608 - a constant of ours
)
# What `workflow_claim_event` would find for a new event.
_OPEN_WAITS = text(
    f"""
    SELECT {_WAIT_COLUMNS}, EXISTS (
               SELECT 1 FROM workflow_event_deliveries d
                WHERE d.tenant = w.tenant AND d.target_kind = 'wait' AND d.target_id = w.wait_id
                  AND d.status IN ('new', 'accepted')) AS has_one
      FROM workflow_run_waits w
     WHERE w.tenant = current_setting('workflows.tenant') AND w.event_name = :event_name
       AND w.key = ANY (CAST(:keys AS text[])) AND w.status = 'WAITING'
     ORDER BY w.created_at, w.wait_id
     LIMIT :limit
    """  # noqa: S608 - a constant of ours
)
_DELIVERIES_TO = text(
    """
    SELECT jsonb_build_object('targetKind', d.target_kind, 'targetId', d.target_id, 'runId', d.run_id,
                              'status', d.status, 'reason', d.reason)
      FROM workflow_event_deliveries d
     WHERE d.tenant = current_setting('workflows.tenant') AND d.event_id = :event_id AND d.target_kind = 'wait'
       AND d.target_id = ANY (CAST(:wait_ids AS text[]))
    """
)
_WAIT = text(
    f"SELECT {_WAIT_COLUMNS} FROM workflow_run_waits w"  # noqa: S608 - a constant of ours
    " WHERE w.tenant = current_setting('workflows.tenant') AND w.wait_id = :wait_id"
)
_EVENTS_FOR = text(
    """
    WITH near AS (
        (SELECT e.event_id FROM workflow_runtime_events e
          WHERE e.tenant = current_setting('workflows.tenant') AND e.event_name = :event_name
            AND e.correlation_keys[1] = :key AND e.processed_at >= :since
          ORDER BY e.processed_at DESC, e.event_id DESC LIMIT :limit)
        UNION
        (SELECT e.event_id FROM workflow_runtime_events e
          WHERE e.tenant = current_setting('workflows.tenant') AND e.event_name = :event_name
            AND e.correlation_keys[1] = :key AND e.processed_at IS NULL
          ORDER BY e.created_at DESC, e.event_id DESC LIMIT :limit)
        UNION
        (SELECT e.event_id FROM workflow_runtime_events e
          WHERE e.tenant = current_setting('workflows.tenant') AND e.event_name = :event_name
            AND e.correlation_keys[2] IS NOT NULL AND e.correlation_keys @> ARRAY[CAST(:key AS text)]
            AND e.processed_at >= :since
          ORDER BY e.processed_at DESC, e.event_id DESC LIMIT :limit)
        UNION
        (SELECT e.event_id FROM workflow_runtime_events e
          WHERE e.tenant = current_setting('workflows.tenant') AND e.event_name = :event_name
            AND e.processed_at >= :since
          ORDER BY e.processed_at DESC, e.event_id DESC LIMIT :limit)
        UNION
        (SELECT e.event_id FROM workflow_runtime_events e
          WHERE e.tenant = current_setting('workflows.tenant') AND e.event_name = :event_name
            AND e.processed_at IS NULL
          ORDER BY e.created_at DESC, e.event_id DESC LIMIT :limit))
    SELECT e.event_id, e.event_name, e.correlation_keys, e.payload, e.status, e.error_message, e.created_at,
           e.processed_at, d.status AS delivery
      FROM workflow_runtime_events e
      LEFT JOIN workflow_event_deliveries d
        ON d.tenant = e.tenant AND d.event_id = e.event_id AND d.target_kind = 'wait' AND d.target_id = :wait_id
     WHERE e.tenant = current_setting('workflows.tenant') AND e.event_id = ANY (ARRAY(SELECT event_id FROM near))
     ORDER BY e.correlation_keys @> ARRAY[CAST(:key AS text)] DESC, coalesce(e.processed_at, e.created_at) DESC,
              e.event_id DESC
     LIMIT :limit
    """
)
_CLAIMED_BY = text(
    "SELECT wait_id FROM workflow_event_claims"
    " WHERE tenant = current_setting('workflows.tenant') AND event_id = :event_id"
)
_CONSUMED_BY = text(
    "SELECT run_id, wait_id FROM workflow_run_waits"
    " WHERE tenant = current_setting('workflows.tenant') AND run_id = ANY(CAST(:run_ids AS text[]))"
    " AND matched_event_id = :event_id"
)
_KNOWN = text(
    "SELECT count(*) = 0 OR bool_or(event_type = :event_name) FROM event_catalog"
    " WHERE tenant = current_setting('workflows.tenant')"
)


@dataclass(frozen=True, slots=True)
class WaitFacts(Row):
    """A wait; the names are the columns'."""

    wait_id: str
    run_id: str
    step_path: str
    wait_type: str
    event_name: str | None
    key: str | None
    filters: list[Any]
    match: str
    status: str
    look_back_from: datetime
    timeout_at: datetime | None
    matched_event_id: str | None
    created_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class OpenWait(WaitFacts):
    """A wait that is open; `has_one`: an event is on its way to it."""

    has_one: bool


@dataclass(frozen=True, slots=True)
class EventForWait(Row):
    """An event of the name that a wait is for; `delivery` is the status of its delivery to this wait."""

    event_id: str
    event_name: str
    correlation_keys: list[str]
    payload: Any
    status: str
    error_message: str | None
    created_at: datetime
    processed_at: datetime | None
    delivery: str | None


async def waits_for(
    conn: AsyncConnection, event_id: str, event_name: str, keys: list[str], since: datetime, limit: int
) -> list[WaitFacts]:
    """Waits for an event name that were open at a time or later, those with one of the keys first."""
    values: Mapping[str, Any] = {
        "event_id": event_id,
        "event_name": event_name,
        "keys": keys,
        "since": since,
        "limit": limit,
    }
    return [WaitFacts.of(row) for row in await conn.execute(_WAITS_FOR, values)]


async def open_waits(conn: AsyncConnection, event_name: str, keys: list[str], limit: int) -> list[OpenWait]:
    """Waits for an event name and one of the keys that are open now, oldest first."""
    found = await conn.execute(_OPEN_WAITS, {"event_name": event_name, "keys": keys, "limit": limit})
    return [OpenWait.of(row) for row in found]


async def deliveries_to(conn: AsyncConnection, event_id: str, wait_ids: Collection[str]) -> list[Mapping[str, Any]]:
    """The deliveries of an event to some waits: targetKind, targetId, runId, status, reason."""
    found = await conn.execute(_DELIVERIES_TO, {"event_id": event_id, "wait_ids": sorted(wait_ids)})
    return list(found.scalars())


async def get_wait(conn: AsyncConnection, wait_id: str) -> WaitFacts | None:
    """One wait, or None."""
    row = (await conn.execute(_WAIT, {"wait_id": wait_id})).one_or_none()
    return None if row is None else WaitFacts.of(row)


async def events_for(conn: AsyncConnection, wait: WaitFacts, limit: int) -> list[EventForWait]:
    """Events of the wait's name that were routed since its window began, or are not yet: those with its key first."""
    values = {
        "wait_id": wait.wait_id,
        "event_name": wait.event_name,
        "key": wait.key,
        "since": wait.look_back_from,
        "limit": limit,
    }
    return [EventForWait.of(row) for row in await conn.execute(_EVENTS_FOR, values)]


async def claimed_by(conn: AsyncConnection, event_id: str) -> str | None:
    """The wait with `match: one` that has the event."""
    found: str | None = (await conn.execute(_CLAIMED_BY, {"event_id": event_id})).scalar_one_or_none()
    return found


async def consumed_by(conn: AsyncConnection, event_id: str, run_ids: Collection[str]) -> dict[str, str]:
    """Wait by run, of those of the runs that took the event."""
    values = {"event_id": event_id, "run_ids": sorted(run_ids)}
    return {row.run_id: row.wait_id for row in await conn.execute(_CONSUMED_BY, values)}


async def in_catalog(conn: AsyncConnection, event_name: str) -> bool:
    """False when the tenant has a catalogue of events and this one is not in it."""
    return bool((await conn.execute(_KNOWN, {"event_name": event_name})).scalar_one())
