"""Routes events: one transaction each, from `pending` to deliveries and `routed`."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.expressions.reading import nests_deeper
from workflows_core.ingress.just_routed import ALL_TO_EVERYBODY, JustRouted
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.interpreter.correlation import MAX_LOCKED_KEYS, correlation_keys, key_fault
from workflows_core.interpreter.matching import EventFacts, matches
from workflows_core.publishing.contracts import payload_problems
from workflows_core.storage.database import Database, is_unavailable
from workflows_core.storage.deliveries import Delivery
from workflows_core.storage.routing import (
    MOST_WAITS,
    PendingEvent,
    claim_event,
    claim_for,
    event_failed,
    failed_attempts,
    is_awaited,
    more_waits,
    pending_events,
    settle_event,
    stored_keys,
    take_event,
    take_next_event,
)
from workflows_core.storage.run_writes import add_deliveries, new_delivery
from workflows_core.storage.statements import is_contended, is_fault_of_schema
from workflows_core.wire.records import WaitRecord
from workflows_core.wire.text import MAX_PARSED_DEPTH

_log = logging.getLogger(__name__)
_STARTS = uuid.UUID("0b0c7f5a-6a56-5d1e-8d55-6f1a0a3f4e21")
_REASON_LENGTH = 500
_MOST_LOOKED_AT = 10_000
"""Events of one pass: with so many that are left, the others wait until their keys are free."""


async def route_pending(
    db: Database, policy: IngressPolicy, just_routed: JustRouted = ALL_TO_EVERYBODY, *, at_rest: bool = False
) -> int:
    """Routes the oldest events that are due, in their order within a tenant.

    An event that cannot be routed waits for its next attempt and finally is `dead`; it stops no other.

    Args:
        db: Where.
        policy: Bounds.
        just_routed: Takes the deliveries that this process sends itself.
        at_rest: There was nothing before, so that there is most likely one event now: it is found and taken in one
            statement.

    Returns:
        How many were looked at; 0 means that nothing is due.

    Raises:
        Exception: The database is away; what is not routed stays pending.
    """
    if at_rest:
        try:
            return await _route_next(db, policy, just_routed)
        except Exception as error:
            if is_unavailable(error) and not is_contended(error):
                raise
            _log.debug("the oldest event is routed like the others", exc_info=True)
    held: dict[str, HeldKeys] = defaultdict(HeldKeys)
    seen: set[tuple[str, str]] = set()
    left = 0
    while True:
        # Behind what is left, since somebody else holds its keys, there is as much to route as ever.
        limit = min(policy.batch_size + 2 * left, _MOST_LOOKED_AT)
        found = await pending_events(db, limit)
        due = [one for one in found if one not in seen]
        seen.update(due)
        left += await _route_all(db, due, policy, just_routed, held)
        if not due or len(found) < limit or limit == _MOST_LOOKED_AT or len(seen) - left >= policy.batch_size:
            return len(seen)


async def route_event(
    db: Database,
    tenant: str,
    event_id: str,
    policy: IngressPolicy,
    just_routed: JustRouted = ALL_TO_EVERYBODY,
    held: HeldKeys | None = None,
) -> bool:
    """Routes one event. False when another router was quicker, or when it is behind one whose key is held."""
    async with db.narrow() as conn:
        event = await take_event(conn, tenant, event_id)
        left = None if event is None else await _route(db, conn, event, policy, just_routed, held)
    just_routed.add(left or ())
    return left is not None


class HeldKeys:
    """Keys of the events of a tenant that a pass has left, since somebody else holds what routing them needs.

    What is behind such an event under one of its keys is left as well, whatever its name: it would overtake it, and a
    run that the event starts does not look back to before it.
    """

    def __init__(self) -> None:
        self._keys: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._keys)

    def add(self, keys: Iterable[str]) -> None:
        """An event of these was left."""
        self._keys.update(keys)

    def hold(self, keys: Iterable[str]) -> bool:
        """Whether an event of these is behind one that was left."""
        return not self._keys.isdisjoint(keys)


def keys_of(event: PendingEvent, policy: IngressPolicy) -> tuple[str, ...]:
    """The event's correlation keys: the publisher's, else those its payload gives."""
    if event.correlation_keys:
        return event.correlation_keys
    return correlation_keys(event.event_name, event.payload, event.correlation_key, policy.correlation_paths)


async def fault_of(conn: AsyncConnection, event: PendingEvent, keys: Sequence[str]) -> str | None:
    """Why the event can never be routed as it is, as a sentence; None for nearly every one."""
    if event.schema is not None and event.schema_ref is not None:
        problems = payload_problems(event.schema, event.payload, "EVENT_PAYLOAD_INVALID", "payload")
        if problems:
            more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
            return f"the payload does not keep to {event.schema_ref}: {problems[0].path} {problems[0].message}{more}"
    if nests_deeper(event.payload, MAX_PARSED_DEPTH):
        return f"the payload is nested deeper than {MAX_PARSED_DEPTH} levels, which no run takes"
    if len(keys) > MAX_LOCKED_KEYS:
        return f"the event has {len(keys)} correlation keys, which are more than can be locked"
    fault = None if event.waits is not None else _key_fault(event, keys)
    if fault is not None and not await is_awaited(conn, event, keys):
        return f"a key that its payload gives does not do: {fault}"
    return None


def run_id_of_start(tenant: str, event_id: str, workflow_id: str) -> str:
    """Id of the run that this event starts of this workflow: the same however often it is tried."""
    return str(uuid.uuid5(_STARTS, f"{tenant}\x1f{event_id}\x1f{workflow_id}"))


async def _route_next(db: Database, policy: IngressPolicy, just_routed: JustRouted) -> int:
    """Routes the oldest event that is due.

    Returns:
        1, or 0 when nothing is due.

    Raises:
        Exception: It is left as it was, to be routed like the others.
    """
    async with db.narrow() as conn:
        found = await take_next_event(conn)
        left = await _route(db, conn, found, policy, just_routed) if isinstance(found, PendingEvent) else None
    just_routed.add(left or ())
    return 0 if found is None else 1


async def _route(
    db: Database,
    conn: AsyncConnection,
    event: PendingEvent,
    policy: IngressPolicy,
    just_routed: JustRouted,
    held: HeldKeys | None = None,
) -> list[Delivery] | None:
    """Routes an event that is taken; what is left to this process to send. None as `route_event`."""
    keys = keys_of(event, policy)
    if held is not None and held.hold(keys):
        return None
    try:
        return await _route_by(db, conn, event, keys, just_routed)
    except DBAPIError as error:
        if held is not None and is_contended(error):
            held.add(keys)
        raise


async def _route_by(
    db: Database, conn: AsyncConnection, event: PendingEvent, keys: tuple[str, ...], just_routed: JustRouted
) -> list[Delivery] | None:
    fault = await fault_of(conn, event, keys)
    if fault is not None:
        await _dead(conn, event, fault)
        return []
    waits = event.waits if event.waits is not None else await claim_event(conn, event, keys)
    if waits is None:
        return None
    deliveries = await _to_waits(conn, event, keys, waits)
    while len(waits) == MOST_WAITS:
        await add_deliveries(conn, event.tenant, deliveries)
        db.go_on(conn)
        waits = await more_waits(conn, event, keys, waits[-1])
        deliveries = await _to_waits(conn, event, keys, waits)
    key = keys[0] if keys else None
    for workflow_id in () if event.again else event.starts:
        run_id = run_id_of_start(event.tenant, event.event_id, workflow_id)
        deliveries.append(new_delivery(event.event_id, "start", workflow_id, run_id, key))
    left = await settle_event(conn, event, deliveries, just_routed.lease_for(len(deliveries)))
    return [delivery_of(event, key, one) for one in deliveries if one["delivery_id"] in left]


def _key_fault(event: PendingEvent, keys: Sequence[str]) -> str | None:
    """Of the first key, which the event is found by; another one that is too long is nobody's."""
    return key_fault(keys[0], event.tenant, event.event_name, event.event_id) if keys else None


def delivery_of(event: PendingEvent, key: str | None, new: Mapping[str, Any]) -> Delivery:
    """As the sender would read it."""
    return Delivery(
        tenant=event.tenant,
        delivery_id=new["delivery_id"],
        event_id=event.event_id,
        target_kind=new["target_kind"],
        target_id=new["target_id"],
        run_id=new["run_id"],
        key=new["key"],
        attempts=0,
        event_name=event.event_name,
        correlation_key=key,
        payload=event.payload,
        payload_schema_ref=event.payload_schema_ref,
        created_at=event.created_at,
    )


async def _dead(conn: AsyncConnection, event: PendingEvent, reason: str) -> None:
    """No further attempt could change anything."""
    reason = reason[:_REASON_LENGTH]
    await event_failed(conn, event.tenant, event.event_id, reason, delay_seconds=0, max_attempts=1)
    extra = {"event": "event_routing_failed", "tenant": event.tenant}
    _log.warning("event %s of tenant %s is dead: %s", event.event_id, event.tenant, reason, extra=extra)


async def _to_waits(
    conn: AsyncConnection, event: PendingEvent, keys: tuple[str, ...], waits: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Deliveries to those of the waits that it fits, of which one at most is for one; with the claim of that one."""
    facts = EventFacts(event.event_id, event.event_name, keys, event.payload)
    # A candidate has just the columns that matching reads.
    found = [wait for wait in waits if matches(facts, cast(WaitRecord, wait))]
    deliveries = [_to_wait(event.event_id, wait) for wait in found if wait["match"] == "all"]
    for wait in found:
        if wait["match"] == "one" and await claim_for(
            conn, event.tenant, event.event_id, wait["wait_id"], wait["run_id"]
        ):
            deliveries.append(_to_wait(event.event_id, wait))
            break
    return deliveries


def _to_wait(event_id: str, wait: Mapping[str, Any]) -> dict[str, Any]:
    return new_delivery(event_id, "wait", wait["wait_id"], wait["run_id"], wait["key"])


async def _route_all(
    db: Database,
    due: Sequence[tuple[str, str]],
    policy: IngressPolicy,
    just_routed: JustRouted,
    held: Mapping[str, HeldKeys],
) -> int:
    """Routes events in their order within a tenant; how many were left."""
    by_tenant: dict[str, list[str]] = defaultdict(list)
    for tenant, event_id in due:
        by_tenant[tenant].append(event_id)
    chains = [_route_in_order(db, tenant, ids, policy, just_routed, held[tenant]) for tenant, ids in by_tenant.items()]
    left = 0
    for outcome in await asyncio.gather(*chains, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
        left += outcome
    return left


async def _route_in_order(
    db: Database,
    tenant: str,
    events: Sequence[str],
    policy: IngressPolicy,
    just_routed: JustRouted,
    held: HeldKeys,
) -> int:
    """How many were left as they are: to who holds their keys, or to a quicker router."""
    not_ours: Exception | None = None
    known: dict[str, list[str]] = {}
    left = 0
    for at, event_id in enumerate(events):
        try:
            if held and event_id not in known:
                known = await stored_keys(db, tenant, events[at:])
            if (held and held.hold(known[event_id])) or not await route_event(
                db, tenant, event_id, policy, just_routed, held
            ):
                left += 1
        except Exception as error:
            contended, of_schema = is_contended(error), is_fault_of_schema(error)
            if is_unavailable(error) and not contended:
                raise
            attempts = None if contended or of_schema else policy.event_attempts
            await _failed(db, tenant, event_id, error, policy, attempts, at_once=contended)
            if contended:
                left += 1
                held.add((await stored_keys(db, tenant, [event_id]))[event_id])
            if of_schema:
                not_ours = error
    if not_ours is not None:
        # No event is to blame, and those behind it are routed; the process is told that it is not ready.
        raise not_ours
    return left


async def _failed(
    db: Database,
    tenant: str,
    event_id: str,
    error: Exception,
    policy: IngressPolicy,
    max_attempts: int | None,
    *,
    at_once: bool,
) -> None:
    """Notes a failed attempt. One that is tried again `at_once` stays the first of its keys, for every router."""
    reason = f"{type(error).__name__}: {error}"[:_REASON_LENGTH]
    async with db.tenant(tenant) as conn:
        found = await failed_attempts(conn, tenant, event_id)
        if found is None:
            return
        before, noted = found
        delay = 0.0 if at_once else policy.delay(before + 1)
        status = await event_failed(conn, tenant, event_id, reason, delay_seconds=delay, max_attempts=max_attempts)
    if max_attempts is None:
        if not noted:
            # Once: such attempts follow one another at once.
            extra = {"event": "event_routing_waits", "tenant": tenant}
            _log.warning("event %s of tenant %s is put off: %s", event_id, tenant, reason, extra=extra)
        return
    _log.warning(
        "event %s of tenant %s could not be routed (attempt %d, now %s): %s",
        event_id,
        tenant,
        before + 1,
        status,
        reason,
        extra={"event": "event_routing_failed", "tenant": tenant},
    )
