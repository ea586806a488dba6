"""Why an event went where it went, and why a wait did not get one: with the comparison that failed.

Every function needs a connection whose transaction has its tenant set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Refused
from workflows_core.expressions.engine import ExpressionEngine
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.ingress.router import delivery_of, fault_of, keys_of, run_id_of_start
from workflows_core.ingress.sender import request_of_start
from workflows_core.ingress.trigger_mapping import MappingFailed
from workflows_core.interpreter.correlation import DEFAULT_PATHS, correlation_keys
from workflows_core.interpreter.matching import EventFacts, mismatch
from workflows_core.launching.admission import would_start
from workflows_core.launching.events import checked_replay, schema_ref_of
from workflows_core.launching.request import checked_run_id
from workflows_core.publishing.contracts import registered_schema
from workflows_core.storage.definitions import get_version, published_triggers
from workflows_core.storage.events import EventRow, get_event
from workflows_core.storage.near_misses import (
    EventForWait,
    WaitFacts,
    claimed_by,
    consumed_by,
    deliveries_to,
    events_for,
    get_wait,
    in_catalog,
    open_waits,
    waits_for,
)
from workflows_core.storage.payload_schemas import get_schema
from workflows_core.storage.routing import PendingEvent
from workflows_core.storage.run_writes import new_delivery
from workflows_core.wire.records import WaitRecord

MAX_CANDIDATES = 50
"""Waits of an event, and events of a wait, that are explained; those with the right key come first."""

MAX_PROSPECTS = 1000
"""Waits that are asked whether they would take a replay: the oldest ones."""

_NOTHING_AHEAD: Mapping[tuple[str, str], int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A wait or workflow that an event could concern, and what became of that; the key is that of a workflow."""

    kind: str
    target_id: str
    run_id: str | None
    verdict: str
    why: str | None
    workflow_key: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "kind": self.kind,
            "targetId": self.target_id,
            "runId": self.run_id,
            "verdict": self.verdict,
            "why": self.why,
            "workflowKey": self.workflow_key,
        }


@dataclass(frozen=True, slots=True)
class EventExplanation:
    """An event, the candidates, and what else there is to say about it."""

    event: EventRow
    keys: tuple[str, ...]
    candidates: Sequence[Candidate]
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class WaitExplanation:
    """A wait, and the events of its name since its window began: each with `eventId`, `verdict` and `why`."""

    wait: WaitFacts
    events: Sequence[Mapping[str, Any]]


async def explain_event(
    conn: AsyncConnection, event_id: str, paths: Mapping[str, Sequence[str]] = DEFAULT_PATHS
) -> EventExplanation | None:
    """Each wait and workflow that the event could concern, with its verdict; None when there is no such event."""
    event = await get_event(conn, event_id)
    if event is None:
        return None
    keys = event.keys or correlation_keys(event.event_name, event.payload, None, paths)
    facts = EventFacts(event_id, event.event_name, keys, event.payload)
    delivered = {(one["targetKind"], one["targetId"]): one for one in event.deliveries}
    since = event.processed_at or event.created_at
    candidates: list[Candidate] = []
    waits = await waits_for(conn, event_id, event.event_name, list(keys), since, MAX_CANDIDATES)
    claimed = await claimed_by(conn, event_id)
    consumed = await consumed_by(conn, event_id, {wait.run_id for wait in waits})
    if event.delivery_count > len(event.deliveries):
        those = await deliveries_to(conn, event_id, {wait.wait_id for wait in waits})
        delivered |= {(one["targetKind"], one["targetId"]): one for one in those}
    for wait in waits:
        found = delivered.pop(("wait", wait.wait_id), None)
        if found is not None:
            candidates.append(_delivered(found))
            continue
        why = mismatch(facts, _record(wait)) or _outside(event, wait, claimed, consumed)
        candidates.append(Candidate("wait", wait.wait_id, wait.run_id, "no match", why))
    candidates += [_delivered(one) for one in delivered.values()]
    candidates += [
        Candidate("start", trigger.workflow_id, None, "no match", _not_started(event, trigger.key), trigger.key)
        for trigger in await published_triggers(conn, event.event_name)
        if ("start", trigger.workflow_id) not in delivered
    ]
    return EventExplanation(event, keys, candidates, await _notes(conn, event, keys, candidates))


async def explain_wait(conn: AsyncConnection, wait_id: str) -> WaitExplanation | None:
    """The events of the wait's name, each with why it did or did not resolve the wait; None when there is no wait."""
    wait = await get_wait(conn, wait_id)
    if wait is None:
        return None
    events = [] if wait.event_name is None else await events_for(conn, wait, MAX_CANDIDATES)
    return WaitExplanation(wait, [await _seen_by(conn, wait, event) for event in events])


async def would_reach(
    conn: AsyncConnection,
    tenant: str,
    event: EventRow,
    engine: ExpressionEngine,
    paths: Mapping[str, Sequence[str]] = DEFAULT_PATHS,
    ahead: Mapping[tuple[str, str], int] = _NOTHING_AHEAD,
) -> list[Candidate]:
    """Who would get a replay of this event now, and who would not and why: by what decides it for a real one.

    `ahead` has how many events that are replayed in front of it reach a target, by its kind and id: a wait takes one,
    and each start is one more open run.

    Verdicts are `match`, of a wait also `no match` (of those that are too many to be asked `unknown`), of a start also
    `undeliverable`, and of the event itself `dead` or `refused`: then it goes to nobody.
    """
    try:
        replay = checked_replay(tenant, event)
    except Refused as error:
        return [Candidate("event", event.event_id, None, "refused", error.message)]
    triggers = await published_triggers(conn, event.event_name)
    ref = await schema_ref_of(conn, event.event_name, event.payload_schema_ref)
    schema = None if ref is None else await get_schema(conn, ref)
    pending = PendingEvent(
        tenant=tenant,
        event_id=replay.event_id,
        event_name=event.event_name,
        correlation_key=event.keys[0] if event.keys else None,
        correlation_keys=event.keys,
        payload=event.payload,
        created_at=datetime.now(UTC),
        payload_schema_ref=event.payload_schema_ref,
        attempts=0,
        again=False,
        schema_ref=ref,
        schema=None if schema is None else schema.schema_json,
        starts=tuple(trigger.workflow_id for trigger in triggers),
        waits=None,
    )
    keys = keys_of(pending, IngressPolicy(correlation_paths=paths))
    fault = await fault_of(conn, pending, keys)
    if fault is not None:
        return [Candidate("event", event.event_id, None, "dead", fault)]
    starts = [
        await _start(conn, pending, keys, workflow_id, engine, ahead.get(("start", workflow_id), 0))
        for workflow_id in pending.starts
    ]
    return [*await _waits(conn, pending, keys, ahead), *starts]


async def _waits(
    conn: AsyncConnection, event: PendingEvent, keys: Sequence[str], ahead: Mapping[tuple[str, str], int]
) -> list[Candidate]:
    facts = EventFacts(event.event_id, event.event_name, tuple(keys), event.payload)
    found: list[Candidate] = []
    claimed: str | None = None
    waits = await open_waits(conn, event.event_name, list(keys), MAX_PROSPECTS + 1)
    for wait in waits[:MAX_PROSPECTS]:
        why = mismatch(facts, _record(wait))
        if why is None and (wait.has_one or ("wait", wait.wait_id) in ahead):
            why = "another event is on its way to the wait, which takes one"
        if why is None and wait.match == "one":
            why = _beside(wait, claimed, {})
            claimed = claimed or wait.wait_id
        found.append(Candidate("wait", wait.wait_id, wait.run_id, "match" if why is None else "no match", why))
    if len(waits) > MAX_PROSPECTS:
        why = f"more than {MAX_PROSPECTS} waits are open for its keys: the others were not asked"
        found.append(Candidate("wait", "others", None, "unknown", why))
    return found


async def _start(
    conn: AsyncConnection,
    event: PendingEvent,
    keys: Sequence[str],
    workflow_id: str,
    engine: ExpressionEngine,
    ahead: int,
) -> Candidate:
    run_id = run_id_of_start(event.tenant, event.event_id, workflow_id)
    key = keys[0] if keys else None
    delivery = delivery_of(event, key, new_delivery(event.event_id, "start", workflow_id, run_id, key))
    try:
        request = request_of_start(delivery, await get_version(conn, workflow_id, None), engine)
        checked_run_id(request)
        at_once = await would_start(conn, request, ahead)
    except (MappingFailed, Refused) as error:
        why = error.message if isinstance(error, Refused) else str(error)
        return Candidate("start", workflow_id, None, "undeliverable", why)
    return Candidate("start", workflow_id, None, "match", None if at_once else "it waits for other runs to end")


async def _seen_by(conn: AsyncConnection, wait: WaitFacts, event: EventForWait) -> dict[str, Any]:
    if event.event_id == wait.matched_event_id:
        verdict, why = "consumed", None
    elif event.delivery is not None:
        verdict, why = event.delivery, None
    elif event.processed_at is None:
        verdict, why = event.status, event.error_message
    else:
        facts = EventFacts(event.event_id, event.event_name, tuple(event.correlation_keys), event.payload)
        verdict, why = "no match", mismatch(facts, _record(wait))
        if why is None:
            claimed = await claimed_by(conn, event.event_id)
            consumed = await consumed_by(conn, event.event_id, {wait.run_id})
            why = _beside(wait, claimed, consumed) or _passed_by(wait, "the wait was not open then")
    return {"eventId": event.event_id, "at": event.created_at, "verdict": verdict, "why": why}


def _record(wait: WaitFacts) -> WaitRecord:
    # Matching reads event_name, key and filters only.
    return cast(WaitRecord, {"event_name": wait.event_name, "key": wait.key, "filters": wait.filters})


def _delivered(found: Mapping[str, Any]) -> Candidate:
    told = (found["targetKind"], found["targetId"], found["runId"], found["status"], found["reason"])
    return Candidate(*told, found.get("workflowKey"))


def _beside(wait: WaitFacts, claimed: str | None, consumed: Mapping[str, str]) -> str | None:
    earlier = consumed.get(wait.run_id)
    if earlier not in (None, wait.wait_id):
        return f"the run took this event with an earlier wait, {earlier}"
    if wait.match == "one" and claimed not in (None, wait.wait_id):
        return f"only one wait gets it (match: one), and that is {claimed}"
    return None


def _outside(event: EventRow, wait: WaitFacts, claimed: str | None, consumed: Mapping[str, str]) -> str:
    beside = _beside(wait, claimed, consumed)
    if beside is not None:
        return beside
    if event.processed_at is None:
        return "would match: the event is not routed yet"
    if wait.matched_event_id is not None:
        return f"the wait took event {wait.matched_event_id}"
    if wait.look_back_from > event.processed_at:
        return f"the wait looks back to {wait.look_back_from.isoformat()} only, and the event was routed before"
    if wait.status == "WAITING":
        return "another event is on its way to the wait, which takes one; the run's next wait looks back for this one"
    return f"{_passed_by(wait, 'the wait was not open when the event was routed')}: it is {wait.status} now"


def _passed_by(wait: WaitFacts, not_open: str) -> str:
    """What can have been where the event fits the wait and nobody has it now: a claim is gone when it is released."""
    if wait.match == "one":
        return f"{not_open}, had another event on its way, or had closed before a wait that got this one gave it back"
    return f"{not_open}, or had another event on its way"


def _not_started(event: EventRow, key: str) -> str:
    if event.processed_at is None:
        return f"would start workflow {key!r}: the event is not routed yet"
    return f"workflow {key!r} was published later"


async def _notes(
    conn: AsyncConnection, event: EventRow, keys: Sequence[str], candidates: Sequence[Candidate]
) -> list[str]:
    notes = []
    if event.error_message is not None:
        notes.append(event.error_message)
    if event.delivery_count > len(event.deliveries):
        notes.append(f"it has {event.delivery_count} deliveries, of which {len(event.deliveries)} are told here")
    if not keys:
        notes.append("it has no correlation key, and none can be derived from its payload: no wait can match it")
    if not await in_catalog(conn, event.event_name):
        notes.append(f"{event.event_name!r} is not in the tenant's event catalogue")
    if event.payload_schema_ref is not None and await registered_schema(conn, event.payload_schema_ref) is None:
        notes.append(f"its schema {event.payload_schema_ref!r} is not registered: its payload was held to none")
    if event.processed_at is None:
        notes.append(f"it is {event.status}, not routed: no wait and no workflow has got it")
    elif not candidates:
        notes.append(f"no wait for {event.event_name!r} was open and no workflow is started by it")
    return notes
