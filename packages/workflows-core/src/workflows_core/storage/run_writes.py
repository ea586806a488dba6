"""The run write of docs/adr/0006-event-ingress-protocol.md: what a run's regular activities write.

The rules are in SQL (`workflow_write_run`), next to the rows they guard; only the filters of waits are
decided here, by the one predicate that router and run use as well.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.interpreter.matching import EventFacts, matches
from workflows_core.interpreter.state import SEMANTICS_VERSION
from workflows_core.storage.database import Database
from workflows_core.storage.json_text import json_text
from workflows_core.storage.processes import CLOCKS_AGREE_SECONDS
from workflows_core.storage.routing import claim_for
from workflows_core.storage.statements import rows_of, value_of
from workflows_core.wire.messages import EventSignal
from workflows_core.wire.records import ConsumedRecord, RunWrite, WaitRecord

_WRITE = text("SELECT * FROM workflow_write_run(CAST(:write AS jsonb), :execution, :semantics)")
_MISSED = text(
    """
    SELECT m.* FROM (
        SELECT CAST('-infinity' AS timestamptz) AS at, '' AS id WHERE CAST(:after_id AS text) IS NULL
        UNION ALL
        SELECT e.processed_at, e.event_id FROM workflow_runtime_events e
         WHERE e.tenant = :tenant AND e.event_id = :after_id
    ) AS behind,
    LATERAL workflow_missed_events(:tenant, :wait_id, CAST(:consumed AS jsonb), behind.at, behind.id, :bytes) AS m
    """
)
_WAIT = text(
    "SELECT wait_id, run_id, event_name, key, filters, match FROM workflow_run_waits"
    " WHERE tenant = :tenant AND wait_id = :wait_id AND status = 'WAITING'"
)
_NOW = text("SELECT extract(epoch FROM clock_timestamp()) * 1000")

MAX_MISSED_BYTES = 1024 * 1024
"""Of the payloads of missed events that are read at a time."""

HANDED_SECONDS = 5.0
"""Then the sender sends a delivery that was handed over and is not consumed: the answer may have got lost."""

MAX_HANDED_BYTES = 256 * 1024
"""Of payloads in the answer to one write; what is beyond comes by signal."""

_ADD = text("SELECT workflow_add_deliveries(:tenant, CAST(:deliveries AS jsonb))")
_DELIVERIES = uuid.UUID("6f0f7d5e-3c0b-5c58-9a49-5a1f2f6a9d10")


async def write_run(db: Database, write: RunWrite, execution: str, *, hand_over: bool = False) -> Sequence[EventSignal]:
    """Writes records, consumption, waits and status of a run in one transaction; repeating it changes nothing.

    A write with a final status is the run's end: it closes every wait and gives each unresolved delivery
    its verdict.

    Args:
        db: Where.
        write: Carried by a regular activity.
        execution: Temporal run id of the execution that wrote it (`activity.info().workflow_run_id`).
            Not the first one of its chain: a reset keeps that one.
        hand_over: The caller gives the run what is answered. If that gets lost, the sender sends it after a while.

    Returns:
        Of each wait that it opened the event that the wait may take already, when it is handed over.

    Raises:
        RunReset: The execution is not the run's own (`RUN_RESET`); nothing is written.
    """
    if write["waits"]:
        async with db.tenant(write["tenant"]) as conn:
            return await write_in(conn, write, execution, hand_over=hand_over)
    # It opens no wait and leaves none open, so it can have missed no event: one statement, one round trip.
    await rows_of(db, _WRITE, _values(write, execution))
    return ()


async def write_in(
    conn: AsyncConnection, write: RunWrite, execution: str, *, hand_over: bool = False
) -> Sequence[EventSignal]:
    """As `write_run`, in a transaction whose tenant is set."""
    write = await _by_the_database_s_clock(conn, write)
    missed = await rows_of(conn, _WRITE, _values(write, execution))
    pages: dict[str, list[dict[str, Any]]] = {}
    for row in missed:
        pages.setdefault(row["wait_id"], []).append(row)
    named = {wait["wait_id"]: wait for wait in write["waits"] or ()}
    handed: list[EventSignal] = []
    room = MAX_HANDED_BYTES if hand_over else 0
    for wait_id, page in pages.items():
        wait = named[wait_id]
        event = await _missed_one(conn, write["tenant"], write["run_id"], wait, write["consumed"], page)
        if event is None:
            continue
        delivery = new_delivery(event.event_id, "wait", wait_id, write["run_id"], wait["key"])
        size = len(json_text(event.payload))
        if size <= room:
            room -= size
            handed.append(_signal(event, wait, delivery["delivery_id"]))
            delivery["left_for"] = HANDED_SECONDS
        await add_deliveries(conn, write["tenant"], [delivery])
    return handed


async def _by_the_database_s_clock(conn: AsyncConnection, write: RunWrite) -> RunWrite:
    """With what is compared with the database's clock by that clock: the run has counted on Temporal's.

    That is the beginnings of `lookbackMs`, and where the two clocks differ the times of tasks for people as well.
    """
    waits, ahead = write["waits"] or [], write.get("temporal_ahead_ms")
    if ahead is None or not any("lookback_ms" in wait or wait["wait_type"] == "human" for wait in waits):
        return write
    now = float(await value_of(conn, _NOW, {}))
    behind = round(now - time.time() * 1000 - ahead)
    return cast(RunWrite, {**write, "waits": [_moved(wait, behind) for wait in waits]})


def _moved(wait: WaitRecord, behind: int) -> Mapping[str, Any]:
    if "lookback_ms" in wait:
        return {**wait, "look_back_from": wait["look_back_from"] + behind}
    if wait["wait_type"] != "human" or abs(behind) < CLOCKS_AGREE_SECONDS * 1000:
        return wait
    expires, due = wait["timeout_at"], wait["payload"].get("dueAt")
    payload = {**wait["payload"], "dueAt": None if due is None else due + behind}
    return {**wait, "timeout_at": None if expires is None else expires + behind, "payload": payload}


async def look_back_again(conn: AsyncConnection, tenant: str, wait_id: str) -> None:
    """For a wait whose delivery is over while it is still open; the caller holds the key's lock."""
    wait = (await conn.execute(_WAIT, {"tenant": tenant, "wait_id": wait_id})).mappings().one_or_none()
    if wait is None:
        return
    page = await _missed(conn, tenant, wait_id, (), None)
    facts = {key: wait[key] for key in ("wait_id", "event_name", "key", "filters")}
    if wait["match"] == "one":
        facts["match"] = "one"
    event = await _missed_one(conn, tenant, wait["run_id"], cast(WaitRecord, facts), (), page)
    if event is not None:
        await add_deliveries(conn, tenant, [new_delivery(event.event_id, "wait", wait_id, wait["run_id"], wait["key"])])


async def _missed_one(
    conn: AsyncConnection,
    tenant: str,
    run_id: str,
    wait: WaitRecord,
    consumed: Sequence[ConsumedRecord],
    page: list[dict[str, Any]],
) -> EventFacts | None:
    """The first event that fits, for this wait alone if it wants that; the next wait looks back again."""
    while page:
        for row in page:
            event = event_facts(row)
            if matches(event, wait) and await _may_have(conn, tenant, run_id, event.event_id, wait):
                return event
        page = await _missed(conn, tenant, wait["wait_id"], consumed, page[-1]["event_id"])
    return None


async def _missed(
    conn: AsyncConnection, tenant: str, wait_id: str, consumed: Sequence[ConsumedRecord], after_id: str | None
) -> list[dict[str, Any]]:
    values = {
        "tenant": tenant,
        "wait_id": wait_id,
        "consumed": json_text(list(consumed)),
        "after_id": after_id,
        "bytes": MAX_MISSED_BYTES,
    }
    return await rows_of(conn, _MISSED, values)


async def _may_have(conn: AsyncConnection, tenant: str, run_id: str, event_id: str, wait: WaitRecord) -> bool:
    """True unless only one wait may have the event and another one has it."""
    return "match" not in wait or await claim_for(conn, tenant, event_id, wait["wait_id"], run_id)


def _signal(event: EventFacts, wait: WaitRecord, delivery_id: str) -> EventSignal:
    """As the sender would send it."""
    return EventSignal(
        event_id=event.event_id,
        event_name=event.event_name,
        correlation_key=wait["key"],
        payload=event.payload,
        received_at=datetime.now(UTC).isoformat(),
        wait_id=wait["wait_id"],
        delivery_id=delivery_id,
    )


async def add_deliveries(conn: AsyncConnection, tenant: str, deliveries: Sequence[Mapping[str, Any]]) -> None:
    """Inserts deliveries `new`; one for the same event and target stays as it is. Wakes the sender at commit."""
    if deliveries:
        await rows_of(conn, _ADD, {"tenant": tenant, "deliveries": json_text(list(deliveries))})


def new_delivery(event_id: str, target_kind: str, target_id: str, run_id: str, key: str | None) -> dict[str, Any]:
    """A delivery with the id that this event and target always have."""
    return {
        "delivery_id": str(uuid.uuid5(_DELIVERIES, json_text([event_id, target_kind, target_id]))),
        "event_id": event_id,
        "target_kind": target_kind,
        "target_id": target_id,
        "run_id": run_id,
        "key": key,
    }


def event_facts(row: Mapping[str, Any]) -> EventFacts:
    """What matching needs, from a row with event_id, event_name, keys and payload."""
    keys: Iterable[str] = row["keys"]
    return EventFacts(row["event_id"], row["event_name"], tuple(keys), row["payload"])


def _values(write: RunWrite, execution: str) -> dict[str, Any]:
    return {
        "write": json_text({**write, "look_back_bytes": MAX_MISSED_BYTES}),
        "execution": execution,
        "semantics": SEMANTICS_VERSION,
    }


def is_bare(write: RunWrite) -> bool:
    """True when a write says nothing of waits and consumption, so that it touches no key."""
    waits: list[WaitRecord] | None = write["waits"]
    return waits is None and not write["consumed"] and not write["closed"] and "refused" not in write
