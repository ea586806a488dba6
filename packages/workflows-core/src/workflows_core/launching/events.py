"""Publishing with everything that can be checked before an event is in the stream, and repairs of what is there.

Every function needs a connection whose transaction has its tenant set.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Json, Refused
from workflows_core.publishing.contracts import payload_problems, registered_schema
from workflows_core.publishing.lookup import find_workflow
from workflows_core.storage.deliveries import start_again
from workflows_core.storage.event_catalog import get_event as get_entry
from workflows_core.storage.events import (
    EventRow,
    ReplayedEvent,
    events_between,
    get_event,
    mark_replay,
    pending_between,
    replay_alone,
    replayed_events,
    requeue,
)
from workflows_core.storage.new_events import NewEvent, insert_event
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
        Refused: `EVENT_INVALID`, `EVENT_CONFLICT`, `PAYLOAD_SCHEMA_REF_UNKNOWN`; `EVENT_PAYLOAD_INVALID` with
            everything that does not fit.
    """
    if event_id.startswith(RUNTIME_EVENT_IDS) or event_name == RUN_ENDED:
        message = "is the runtime's own: choose an event id and a name that are yours"
        path = "eventName" if event_name == RUN_ENDED else "eventId"
        raise Refused.one("EVENT_INVALID", message, path)
    event = NewEvent.of(
        tenant=tenant,
        event_id=event_id,
        event_name=event_name,
        payload={} if payload is None else payload,
        keys=[correlation_key],
        payload_schema_ref=payload_schema_ref,
        occurred_at=occurred_at,
    )
    ref = await schema_ref_of(conn, event_name, payload_schema_ref)
    schema = None if ref is None else await registered_schema(conn, ref)
    if schema is None and payload_schema_ref is not None:
        message = (
            f"no payload schema {payload_schema_ref!r} is registered; `workflows schemas list` has those there are"
        )
        raise Refused.one("PAYLOAD_SCHEMA_REF_UNKNOWN", message, "payloadSchemaRef")
    if schema is not None:
        problems = payload_problems(schema, event.payload, "EVENT_PAYLOAD_INVALID", "payload")
        if problems:
            raise Refused(problems)
    return await insert_event(conn, event)


async def schema_ref_of(conn: AsyncConnection, event_name: str, payload_schema_ref: str | None) -> str | None:
    """What an event's payload has to keep to: the schema that the publisher named, else that of the catalogue."""
    entry = None if payload_schema_ref is not None else await get_entry(conn, event_name)
    return payload_schema_ref or (None if entry is None else entry.payload_schema_ref)


async def requeue_event(
    conn: AsyncConnection, tenant: str, event_id: str, workflow: str | None = None
) -> dict[str, Any]:
    """Sets going again what is dead about an event: its routing, its deliveries, a claim whose outcome is unknown.

    With a workflow (key or id), the start of that one only, which may be undeliverable too: the run has the id that it
    would have had, and no other target of the event gets it a second time.

    Returns:
        `event` (True when it is routed again), `deliveries` and `claims`, how many.

    Raises:
        Refused: `EVENT_NOT_FOUND`, `EVENT_NOT_DEAD`, `WORKFLOW_UNKNOWN`.
    """
    if workflow is not None:
        return await _requeue_start(conn, tenant, event_id, workflow)
    done = await requeue(conn, tenant, event_id)
    if done is None:
        raise Refused.one("EVENT_NOT_FOUND", f"this tenant has no event {event_id!r}", "eventId")
    if not any(done.values()):
        event = await get_event(conn, event_id)
        starts = (
            []
            if event is None
            else [str(one["workflowKey"] or one["targetId"]) for one in event.deliveries if _is_missed_start(one)]
        )
        what = f"the start of {', '.join(starts)} by it is undeliverable: name the workflow (--to)"
        other = "to repeat it for those who wait now, replay it"
        message = f"nothing about event {event_id!r} is dead; {what if starts else other}"
        raise Refused.one("EVENT_NOT_DEAD", message, "eventId")
    return done


async def _requeue_start(conn: AsyncConnection, tenant: str, event_id: str, workflow: str) -> dict[str, Any]:
    found = await find_workflow(conn, workflow)
    event = await get_event(conn, event_id)
    if event is None:
        raise Refused.one("EVENT_NOT_FOUND", f"this tenant has no event {event_id!r}", "eventId")
    if await start_again(conn, tenant, event_id, event.event_name, event.keys, found.workflow_id):
        return dict(zip(("event", "deliveries", "claims"), (False, 1, 0), strict=True))
    target = ("start", found.workflow_id)
    status = [one["status"] for one in event.deliveries if (one["targetKind"], one["targetId"]) == target]
    what = f"is {status[0]}, neither dead nor undeliverable" if status else "is none of its deliveries"
    raise Refused.one("EVENT_NOT_DEAD", f"the start of {found.key!r} by event {event_id!r} {what}", "eventId")


def _is_missed_start(delivery: Mapping[str, Any]) -> bool:
    return (delivery["targetKind"], delivery["status"]) == ("start", "undeliverable")


@dataclass(frozen=True, slots=True)
class EventsToReplay:
    """What a replay takes, and what it does not.

    Attributes:
        events: To publish again, oldest first.
        replayed: Those that were replayed before, oldest first; none of them is in `events` unless that was asked for.
        more: There are more events to publish again than the limit.
        pending: How many of the window are left out since they are still to be routed, to those who wait then.
    """

    events: Sequence[EventRow]
    replayed: Sequence[ReplayedEvent]
    more: bool
    pending: int


async def events_to_replay(
    conn: AsyncConnection,
    event_id: str | None,
    name: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    *,
    again: bool = False,
    with_replays: bool = False,
) -> EventsToReplay:
    """One event by its id, or those of a window of time (of publishing), which nobody else replays meanwhile.

    One that is still to be routed is none of them: those who wait for it would get it twice.

    Args:
        conn: Where; until its transaction ends other replays of the tenant's events wait.
        event_id: One event.
        name: Of a window, only events of this name.
        since: Where the window begins.
        until: Where it ends, itself not in it; None for now.
        limit: At most so many.
        again: Also those that were replayed before.
        with_replays: Also those of the window that are replays themselves.

    Raises:
        Refused: `EVENT_NOT_FOUND`, `EVENT_PENDING`, `OPTION_NOT_FITTING` unless there is an id or a beginning.
    """
    await replay_alone(conn)
    if event_id is not None:
        found = await get_event(conn, event_id)
        if found is None:
            raise Refused.one("EVENT_NOT_FOUND", f"this tenant has no event {event_id!r}", "eventId")
        if found.status == "pending":
            message = (
                f"event {event_id!r} is still to be routed, to those who wait for it then: they would get it twice"
            )
            raise Refused.one("EVENT_PENDING", message, "eventId")
        replayed = await replayed_events(conn, event_id, None, found.created_at, None, with_replays=True)
        return EventsToReplay([found] if again or not replayed else [], replayed, more=False, pending=0)
    if since is None:
        raise Refused.one("OPTION_NOT_FITTING", "name an event, or a window with --from and --until", "--from")
    replayed = await replayed_events(conn, None, name, since, until, with_replays=with_replays)
    left_out = [] if again else [one.event_id for one in replayed]
    events = await events_between(conn, name, since, until, limit + 1, with_replays=with_replays, left_out=left_out)
    pending = await pending_between(conn, name, since, until, with_replays=with_replays)
    return EventsToReplay(events[:limit], replayed, more=len(events) > limit, pending=pending)


def checked_replay(tenant: str, event: EventRow) -> NewEvent:
    """A replay of the event, under a new id.

    Raises:
        Refused: `EVENT_INVALID`: nobody can read its payload, or it could not be published under such an id.
    """
    if event.unreadable is not None:
        message = f"the payload of event {event.event_id!r} cannot be read: {event.unreadable}"
        raise Refused.one("EVENT_INVALID", message, "payload")
    return NewEvent.of(
        tenant=tenant,
        event_id=f"{event.event_id[:150]}:replay-{uuid.uuid4().hex[:12]}",
        event_name=event.event_name,
        payload=event.payload,
        keys=event.keys,
        payload_schema_ref=event.payload_schema_ref,
        occurred_at=event.occurred_at,
    )


async def replay_event(conn: AsyncConnection, tenant: str, event: EventRow) -> str:
    """Publishes the event again under a new id, for the waits and workflows of now; the new id.

    Raises:
        Refused: `EVENT_INVALID`: nobody can read its payload, or it could not be published today.
    """
    replay = checked_replay(tenant, event)
    await insert_event(conn, replay)
    await mark_replay(conn, replay.event_id, event.event_id)
    return replay.event_id
