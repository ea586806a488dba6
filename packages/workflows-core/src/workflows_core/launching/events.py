"""Publishing with everything that can be checked before an event is in the stream, and repairs of what is there.

Every function needs a connection whose transaction has its tenant set.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Json, Refused
from workflows_core.publishing.contracts import payload_problems, registered_schema
from workflows_core.storage.event_catalog import get_event as get_entry
from workflows_core.storage.events import EventRow, events_between, get_event, mark_replay, publish_event, requeue
from workflows_core.wire.names import RUN_ENDED, RUNTIME_EVENT_IDS


async def publish_checked(
    conn: AsyncConnection,
    *,
    tenant: str,
    event_id: str,
    event_name: str,
    payload: Json = None,
    correlation_key: str | None = None,
    payload_schema_ref: str | None = None,
    occurred_at: datetime | None = None,
) -> bool:
    """As `storage.events.publish_event`; a payload that does not keep to its registered schema is refused at once.

    One that is published by the SQL function is checked when it is routed, and `dead` then.

    Raises:
        Refused: `EVENT_INVALID`, `EVENT_CONFLICT`, `EVENT_PAYLOAD_INVALID` with everything that does not fit.
    """
    if event_id.startswith(RUNTIME_EVENT_IDS) or event_name == RUN_ENDED:
        message = "is the runtime's own: choose an event id and a name that are yours"
        path = "eventName" if event_name == RUN_ENDED else "eventId"
        raise Refused.one("EVENT_INVALID", message, path)
    entry = None if payload_schema_ref is not None else await get_entry(conn, event_name)
    ref = payload_schema_ref or (None if entry is None else entry.payload_schema_ref)
    schema = None if ref is None else await registered_schema(conn, ref)
    if schema is not None:
        problems = payload_problems(schema, {} if payload is None else payload, "EVENT_PAYLOAD_INVALID", "payload")
        if problems:
            raise Refused(problems)
    return await publish_event(
        conn,
        tenant=tenant,
        event_id=event_id,
        event_name=event_name,
        payload=payload,
        correlation_key=correlation_key,
        payload_schema_ref=payload_schema_ref,
        occurred_at=occurred_at,
    )


async def requeue_event(conn: AsyncConnection, tenant: str, event_id: str) -> dict[str, Any]:
    """Sets going again what is dead about an event: its routing, its deliveries, a claim whose outcome is unknown.

    Returns:
        `event` (True when it is routed again), `deliveries` and `claims`, how many.

    Raises:
        Refused: `EVENT_NOT_FOUND`, `EVENT_NOT_DEAD`.
    """
    done = await requeue(conn, tenant, event_id)
    if done is None:
        raise Refused.one("EVENT_NOT_FOUND", f"this tenant has no event {event_id!r}", "eventId")
    if not any(done.values()):
        message = f"nothing about event {event_id!r} is dead; to repeat it for those who wait now, replay it"
        raise Refused.one("EVENT_NOT_DEAD", message, "eventId")
    return done


async def events_to_replay(
    conn: AsyncConnection,
    event_id: str | None,
    name: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> Sequence[EventRow]:
    """One event by its id, or those of a window of time (of publishing), oldest first.

    Raises:
        Refused: `EVENT_NOT_FOUND`, `OPTION_NOT_FITTING` unless there is an id or a beginning.
    """
    if event_id is not None:
        found = await get_event(conn, event_id)
        if found is None:
            raise Refused.one("EVENT_NOT_FOUND", f"this tenant has no event {event_id!r}", "eventId")
        return [found]
    if since is None:
        raise Refused.one("OPTION_NOT_FITTING", "name an event, or a window with --from and --until", "--from")
    return await events_between(conn, name, since, until, limit)


async def replay_event(conn: AsyncConnection, tenant: str, event: EventRow) -> str:
    """Publishes the event again under a new id, for the waits and workflows of now; the new id.

    Raises:
        Refused: `EVENT_INVALID`: nobody can read its payload.
    """
    if event.unreadable is not None:
        message = f"the payload of event {event.event_id!r} cannot be read: {event.unreadable}"
        raise Refused.one("EVENT_INVALID", message, "payload")
    new_id = f"{event.event_id[:150]}:replay-{uuid.uuid4().hex[:12]}"
    await publish_event(
        conn,
        tenant=tenant,
        event_id=new_id,
        event_name=event.event_name,
        payload=event.payload,
        correlation_keys=event.keys or None,
        payload_schema_ref=event.payload_schema_ref,
        occurred_at=event.occurred_at,
        none_is_null=True,
    )
    await mark_replay(conn, new_id, event.event_id)
    return new_id
