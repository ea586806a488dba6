"""Event ingress (docs/adr/0006) on real PostgreSQL and Temporal."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from harness.authored import Started, authored_runtime
from harness.databases import MigratedDatabase
from harness.ingress import ingress, route
from harness.interpreted import document, wait
from harness.run_records import (
    EXECUTION,
    OPENED,
    TENANT,
    a_wait,
    a_write,
    consumed,
    deliveries_of,
    publish,
    rows,
    waits_of,
)
from workflows_core.errors import Refused
from workflows_core.execution.beginning import load_call
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.ingress.router import route_event, route_pending, run_id_of_start
from workflows_core.ingress.sender import Sender
from workflows_core.launching.launcher import Launcher, LaunchRequest
from workflows_core.launching.queue import QueuedStarts
from workflows_core.storage.begun_runs import begun_run
from workflows_core.storage.database import Database
from workflows_core.storage.run_writes import write_run
from workflows_core.wire.messages import RunInput

pytestmark = pytest.mark.asyncio(loop_scope="session")
POLICY = IngressPolicy(unknown_run_seconds=0.1, first_delay_seconds=0.1)


def sender(db: Database, client: Client) -> Sender:
    return Sender(db, Launcher(db, client), JlensEngine(), POLICY)


async def statuses(db: Database) -> dict[str, str]:
    return {row["event_id"]: row["status"] for row in await rows(db, "workflow_runtime_events")}


async def test_an_event_goes_to_every_open_wait_for_its_name_and_key(db: Database) -> None:
    waits = [a_wait("w1"), a_wait("w2", "other"), a_wait("w3", filters=[{"path": "amount", "op": ">", "value": 9}])]
    await write_run(db, a_write(1, waits=waits), EXECUTION)
    await publish(db, "e1")
    await route(db, POLICY)
    assert await deliveries_of(db) == {("e1", "w1"): "new"}


@pytest.mark.parametrize("count", [4, 5, 6])
async def test_an_event_goes_to_its_waits_however_many_pages_they_are(
    db: Database, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """All at once they were more than a statement has time for, and the event was tried for ever."""
    for module in ("storage.routing", "ingress.router"):
        monkeypatch.setattr(f"workflows_core.{module}.MOST_WAITS", 2)
    waits = [a_wait(f"w{number}", opened_at=OPENED + number // 2) for number in range(count)]
    ones = [a_wait(f"one-{number}", match="one", opened_at=OPENED + number) for number in range(3)]
    waits[1]["filters"] = ones[0]["filters"] = [{"path": "amount", "op": ">", "value": 9}]
    await write_run(db, a_write(1, waits=[*waits, *ones]), EXECUTION)
    await write_run(db, a_write(1, run_id="run-2", waits=[a_wait("other", "key-2", opened_at=0)]), "execution-2")
    await publish(db, "e1", None, correlation_keys=["key-1", "key-2"])
    await route(db, POLICY)
    expected = {"w0", "other", "one-1", *(f"w{number}" for number in range(2, count))}
    assert await deliveries_of(db) == {("e1", wait_id): "new" for wait_id in expected}
    assert await statuses(db) == {"e1": "routed"}


async def test_hole_27_an_event_that_was_routed_before_its_wait_is_found_by_looking_back(db: Database) -> None:
    await publish(db, "early")
    await route(db, POLICY)
    assert await deliveries_of(db) == {}
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    assert await deliveries_of(db) == {("early", "wait-1"): "new"}


async def test_hole_27_what_was_there_before_the_wait_is_taken_without_a_signal(db: Database, client: Client) -> None:
    await publish(db, "e1", "k1", payload={"amount": 5})
    await publish(db, "e2", "k1", payload={"amount": 6})
    await route(db, POLICY)
    async with authored_runtime(db, client) as authored:
        steps = [
            wait("PAID", "payload.id", lookbackMs=600_000, assign={name: {"$expr": "event.amount"}})
            for name in ("first", "second")
        ]
        run = await authored.start(document(*steps), {"id": "k1"})
        result = await run.handle.result()
    found = result["scopes"]["vars"]
    assert (found["first"], found["second"]) == (5, 6)
    assert {row["event_id"]: row["status"] for row in await rows(db, "workflow_event_deliveries")} == {
        "e1": "consumed",
        "e2": "consumed",
    }
    kinds = [EventType.Name(event.event_type) async for event in run.handle.fetch_history_events()]
    assert "EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED" not in kinds


async def test_what_can_be_sent_does_not_wait_for_a_key_that_is_held_up(
    db: Database, client: Client, database: MigratedDatabase
) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        run = await authored.start(document(wait("PAID", "payload.id")), {"id": "k2"})
        await run.until("WAITING")
        async with await psycopg.AsyncConnection.connect(database.admin_url) as held:
            await held.execute("SELECT workflow_lock_keys(%s, ARRAY['PAID'], ARRAY['k1'])", [TENANT])
            await publish(db, "e1", "k1")
            async with asyncio.timeout(20):
                while not await blocked(held):
                    await asyncio.sleep(0.02)
                await publish(db, "e2", "k2")
                await route_event(db, TENANT, "e2", POLICY)
                await run.handle.result()
            assert (await statuses(db))["e1"] == "pending"


async def blocked(conn: psycopg.AsyncConnection[Any]) -> bool:
    """Whether somebody waits for a lock of a key."""
    found = await conn.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    row = await found.fetchone()
    return row is not None and row[0] > 0


async def test_hole_29_routers_at_once_route_once(db: Database) -> None:
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    await publish(db, "e1")
    outcomes = await asyncio.gather(*(route_event(db, TENANT, "e1", POLICY) for _ in range(4)))
    assert sorted(outcomes) == [False, False, False, True]
    assert len(await rows(db, "workflow_event_deliveries")) == 1


async def test_events_that_eight_senders_publish_again_and_again_are_published_and_routed_once(db: Database) -> None:
    count = 40
    await write_run(db, a_write(1, waits=[a_wait(f"w{number}", f"k{number}") for number in range(count)]), EXECUTION)

    async def sender_of(seed: int) -> int:
        chance = random.Random(seed)  # noqa: S311 - an order, no secret
        mine = [number for number in range(count) for _ in range(chance.randrange(1, 4))]
        chance.shuffle(mine)
        return sum([await publish(db, f"e{number}", f"k{number}") for number in mine])

    async def router() -> int:
        return sum([await route_pending(db, POLICY) for _ in range(30)])

    *published, _, _ = await asyncio.gather(*(sender_of(seed) for seed in range(8)), router(), router())
    await route(db, POLICY)
    assert sum(published) == count
    assert await deliveries_of(db) == {(f"e{number}", f"w{number}"): "new" for number in range(count)}
    assert len(await rows(db, "workflow_event_deliveries")) == count


async def test_an_event_and_the_opening_of_its_wait_at_once_meet_exactly_once(db: Database) -> None:
    for number in range(12):
        opening = a_write(number + 1, waits=[a_wait(f"w{number}", f"k{number}")])
        await publish(db, f"e{number}", f"k{number}")
        await asyncio.gather(route_event(db, TENANT, f"e{number}", POLICY), write_run(db, opening, EXECUTION))
    found = await rows(db, "workflow_event_deliveries")
    assert sorted(row["event_id"] for row in found) == sorted(f"e{number}" for number in range(12))


async def test_an_event_that_an_earlier_wait_consumed_matches_no_later_one_of_the_run(db: Database) -> None:
    await write_run(db, a_write(1, waits=[a_wait("first")]), EXECUTION)
    await publish(db, "e1")
    await route(db, POLICY)
    await write_run(db, a_write(2, waits=[a_wait("second")], consumed=[consumed("first", "e1")]), EXECUTION)
    assert await deliveries_of(db) == {("e1", "first"): "consumed"}


async def test_hole_25_an_event_that_cannot_be_routed_is_dead_with_its_reason_and_stops_no_other(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    await publish(db, "bad", payload={"poison": True})
    await publish(db, "good")

    def poisoned(event_name: str, payload: Any, *_: Any) -> tuple[str, ...]:
        raise ValueError("cannot be read")

    policy = IngressPolicy(event_attempts=1)
    async with db.tenant(TENANT) as conn:
        await conn.execute(text("UPDATE workflow_runtime_events SET correlation_keys = '{}', correlation_key = NULL"
                                " WHERE event_id = 'bad'"))  # fmt: skip
    monkeypatch.setattr("workflows_core.ingress.router.correlation_keys", poisoned)
    while await route_pending(db, policy):
        pass
    assert await statuses(db) == {"bad": "dead", "good": "routed"}
    (row,) = [row for row in await rows(db, "workflow_runtime_events") if row["event_id"] == "bad"]
    assert "cannot be read" in row["error_message"]


@pytest.mark.parametrize("match", ["all", "one"])
async def test_hole_25_a_delivery_that_cannot_be_sent_is_dead_and_frees_its_wait_for_the_next(
    db: Database, client: Client, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = {"match": "one"} if match == "one" else {}
    await write_run(db, a_write(1, waits=[a_wait(**only)]), EXECUTION)
    for event_id in ("poison", "good"):
        await publish(db, event_id)
    await route(db, POLICY)

    async def broken(*_: Any) -> None:
        raise ValueError("cannot be encoded")

    monkeypatch.setattr(Launcher, "signal", broken)
    policy = IngressPolicy(delivery_attempts=2, first_delay_seconds=0.01)
    patient = Sender(db, Launcher(db, client), JlensEngine(), policy)
    while (await deliveries_of(db))["poison", "wait-1"] != "dead":
        await patient.send_ready()
    assert await deliveries_of(db) == {("poison", "wait-1"): "dead", ("good", "wait-1"): "new"}


async def test_hole_34_an_event_without_key_is_kept_and_matches_nothing(db: Database) -> None:
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    await publish(db, "keyless", None, payload={"nothing": 1})
    await route(db, POLICY)
    assert await statuses(db) == {"keyless": "routed"}
    assert await deliveries_of(db) == {}


async def test_hole_32_keys_are_derived_from_the_payload_when_the_publisher_names_none(db: Database) -> None:
    await write_run(db, a_write(1, waits=[a_wait(key="c-1")]), EXECUTION)
    await publish(db, "derived", None, payload={"invoiceId": "i-1", "clientId": "c-1"})
    await route(db, POLICY)
    assert await deliveries_of(db) == {("derived", "wait-1"): "new"}


async def test_the_same_event_id_is_published_once_in_its_tenant(db: Database) -> None:
    assert await publish(db, "e1")
    assert not await publish(db, "e1")
    for other in ({"payload": {"other": 1}}, {"event_name": "OTHER"}, {"key": "other"}):
        with pytest.raises(Refused, match="EVENT_CONFLICT"):
            await publish(db, "e1", **other)
    assert [row["payload"] for row in await rows(db, "workflow_runtime_events")] == [{"amount": 5}]
    assert await publish(db, "e1", tenant="another")
    with pytest.raises(Refused, match="EVENT_INVALID"):
        await publish(db, " ", event_name="")


async def test_a_repeat_is_held_to_the_schema_and_time_that_it_names_and_to_nothing_else(db: Database) -> None:
    """One with another schema or time was answered as the same event, and was lost."""
    noon, later = datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC)
    assert await publish(db, "whole", payload_schema_ref="paid.v1", occurred_at=noon)
    assert await publish(db, "plain")
    same: list[dict[str, Any]] = [
        {},
        {"payload_schema_ref": "paid.v1"},
        {"occurred_at": noon.astimezone(timezone(timedelta(hours=5)))},
        {"payload_schema_ref": "paid.v1", "occurred_at": noon, "key": None},
    ]
    for fields in same:
        assert not await publish(db, "whole", **fields)
    others: list[tuple[str, dict[str, Any]]] = [
        ("whole", {"payload_schema_ref": "paid.v2"}),
        ("whole", {"payload_schema_ref": "paid.v1", "occurred_at": later}),
        ("plain", {"payload_schema_ref": "paid.v1"}),
        ("plain", {"occurred_at": noon}),
    ]
    for event_id, fields in others:
        with pytest.raises(Refused, match=r"EVENT_CONFLICT.*that one stands"):
            await publish(db, event_id, **fields)
    found = {
        row["event_id"]: (row["payload_schema_ref"], row["occurred_at"])
        for row in await rows(db, "workflow_runtime_events")
    }
    assert found == {"whole": ("paid.v1", noon), "plain": (None, None)}


async def test_a_delivery_to_a_run_that_temporal_does_not_know_stays_new(db: Database, client: Client) -> None:
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    await publish(db, "e1")
    await route(db, POLICY)
    assert await sender(db, client).send_ready() == 1
    assert await deliveries_of(db) == {("e1", "wait-1"): "new"}
    assert await waits_of(db) == {"wait-1": "WAITING"}


async def test_order_is_kept_per_key_and_run_and_a_wedged_run_stops_no_other(db: Database, client: Client) -> None:
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    other = a_write(1, run_id="run-2", waits=[a_wait("wait-2", "key-2")])
    await write_run(db, other, "execution-2")
    for number in range(3):
        await publish(db, f"e{number}")
    await publish(db, "other", "key-2")
    await route(db, POLICY)
    ready = await sender(db, client).send_ready()
    assert ready == 2, "the first of key-1 and the one of key-2; the later ones of key-1 wait for the first"


async def test_a_whole_loop_resumes_a_waiting_run(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(wait("PAID", "payload.id"), wait("PAID", "payload.id")), {"id": "key-1"})
        await run.until("WAITING")
        async with ingress(db, client):
            await publish(db, "e1", payload={"n": 1})
            await publish(db, "e2", payload={"n": 2})
            result = await run.handle.result()
        timeline = await run.timeline()
    assert result["scopes"]["vars"]["event"] == {"n": 2}
    assert [(w.status, w.matched_event_id) for w in timeline.waits] == [("RESOLVED", "e1"), ("RESOLVED", "e2")]
    assert {d.status for d in timeline.deliveries} <= {"consumed", "unknown"}
    assert sorted(d.event_id for d in timeline.deliveries if d.status == "consumed") == ["e1", "e2"]


async def has_events(run: Started, *kinds: str) -> None:
    """Waits until these come one after the other in the run's history, whatever else is between them."""
    while True:
        found = iter([EventType.Name(event.event_type) for event in (await run.handle.fetch_history()).events])
        if all(f"EVENT_TYPE_{kind}" in found for kind in kinds):
            return
        await asyncio.sleep(0.05)


async def test_an_event_wins_over_the_time_out_that_is_in_the_same_workflow_task(db: Database, client: Client) -> None:
    """Nobody executes the run while both come, so that it hears of them at once: of the time-out first."""
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(wait("PAID", "payload.id", timeoutMs=1_500)), {"id": "k1"})
        await run.until("WAITING")
    async with ingress(db, client):
        await has_events(run, "TIMER_FIRED")
        await publish(db, "e1", "k1")
        await has_events(run, "TIMER_FIRED", "WORKFLOW_EXECUTION_SIGNALED")
        async with authored_runtime(db, client):
            result = await run.handle.result()
    assert result["scopes"]["vars"]["event"] == {"amount": 5}
    (delivery,) = await rows(db, "workflow_event_deliveries")
    assert delivery["status"] == "consumed"


async def test_an_event_that_comes_after_the_run_has_decided_for_the_time_out_is_late(
    db: Database, client: Client
) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        timed = {**wait("PAID", "payload.id", timeoutMs=1_000), "onError": {"policy": "continue"}}
        run = await authored.start(document(timed), {"id": "k1"})
        await run.until("WAITING")
        async with db.tenant(TENANT) as conn:
            # What the run has decided cannot be written, so that the wait looks open.
            await conn.exec_driver_sql("SELECT FROM workflow_runs FOR UPDATE")
            await has_events(run, "TIMER_FIRED", "ACTIVITY_TASK_SCHEDULED")
            await publish(db, "e1", "k1")
            await has_events(run, "TIMER_FIRED", "WORKFLOW_EXECUTION_SIGNALED")
        result = await run.handle.result()
    assert result["scopes"]["error"]["code"] == "EVENT_WAIT_TIMED_OUT"
    (delivery,) = await rows(db, "workflow_event_deliveries")
    assert (delivery["status"], delivery["reason"]) == ("late", "the wait timed out before the run took the event")


async def test_hole_26_hole_28_a_trigger_starts_its_run_once_and_a_paused_one_delays_nobody(
    db: Database, client: Client
) -> None:
    async with authored_runtime(db, client) as authored:
        trigger = {"type": "event", "eventName": "ORDERED", "payloadMapping": {"id": {"$expr": "event.payload.id"}}}
        started, _, _ = await authored.publish({**document(), "trigger": trigger})
        paused, _, _ = await authored.publish({**document(), "trigger": trigger})
        async with db.tenant(TENANT) as conn:
            await conn.execute(
                text("UPDATE workflow_definitions SET is_paused = true WHERE workflow_id = :id"), {"id": paused}
            )
        await publish(db, "o1", event_name="ORDERED", payload={"id": 7})
        await route(db, POLICY)
        await sender(db, client).send_ready()
        assert await sender(db, client).send_ready() == 0
    assert await deliveries_of(db) == {("o1", started): "consumed", ("o1", paused): "undeliverable"}
    (row,) = await rows(db, "workflow_runs")
    assert row["run_id"] == run_id_of_start(TENANT, "o1", started)
    assert (row["trigger_type"], row["input_json"]) == ("event", {"id": 7})


ORDERED = {"type": "event", "eventName": "ORDERED"}


async def test_what_is_routed_behind_the_event_that_starts_a_run_is_found_by_the_run(
    db: Database, client: Client
) -> None:
    """It was routed before there was a run, whose waits looked back to its own start only."""
    async with authored_runtime(db, client) as authored:
        await authored.publish({**document(wait("PAID", "payload.id")), "trigger": ORDERED})
        await publish(db, "before", "k1")
        await publish(db, "o1", event_name="ORDERED", payload={"id": "k1"})
        await publish(db, "p1", "k1")
        await route(db, POLICY)
        async with ingress(db, client), asyncio.timeout(30):
            while [row["status"] for row in await rows(db, "workflow_runs")] != ["SUCCEEDED"]:
                await asyncio.sleep(0.02)
    (taken,) = [row for row in await rows(db, "workflow_event_deliveries") if row["target_kind"] == "wait"]
    assert (taken["event_id"], taken["status"]) == ("p1", "consumed"), "what was routed before it is of before it"


async def test_the_event_that_starts_a_run_resumes_no_wait_of_it(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        await authored.publish({**document(wait("ORDERED", "payload.id")), "trigger": ORDERED})
        await publish(db, "o1", "k1", event_name="ORDERED", payload={"id": "k1"})
        while [row["status"] for row in await rows(db, "workflow_runs")] != ["WAITING"]:
            await asyncio.sleep(0.02)
    assert [row["target_kind"] for row in await rows(db, "workflow_event_deliveries")] == ["start"]


async def test_what_is_routed_while_a_run_is_queued_is_found_by_it(db: Database, client: Client) -> None:
    """It started with room for it, and its waits looked back to that only."""
    launcher = Launcher(db, client)
    async with authored_runtime(db, client) as authored, ingress(db, client):
        content = {**document(wait("PAID", "payload.id")), "onConcurrencyLimit": "wait"}
        workflow_id, _, _ = await authored.publish(content)
        async with db.tenant(TENANT) as conn:
            await conn.execute(text("UPDATE workflow_definitions SET concurrency_limit = 1"))
        for key, status in (("k1", "RUNNING"), ("k2", "QUEUED")):
            asked = LaunchRequest(TENANT, workflow_id, payload={"id": key}, run_id=f"run-{key}")
            assert (await launcher.launch(asked)).status == status
        await publish(db, "p2", "k2")
        while await statuses(db) != {"p2": "routed"}:
            await asyncio.sleep(0.02)
        await publish(db, "p1", "k1")
        while not await QueuedStarts(db, launcher).one_pass():
            await asyncio.sleep(0.02)
        while {row["status"] for row in await rows(db, "workflow_runs")} != {"SUCCEEDED"}:
            await asyncio.sleep(0.02)
    assert {event for (event, _), status in (await deliveries_of(db)).items() if status == "consumed"} == {"p1", "p2"}


def busy(sleep: Callable[[float], None] = time.sleep) -> None:
    """As a workflow task of a busy process: its time stands still."""
    sleep(0.5)


@pytest.mark.parametrize("loads", ["at once", "slowly", "in a slow task"])
async def test_what_is_routed_before_a_run_of_a_bare_client_is_loaded_is_found_by_it(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch, loads: str
) -> None:
    """Such a run has no row that says when it started, and its waits looked back to its loading only."""

    async def slowly(*given: Any) -> Any:
        await asyncio.sleep(1.5)
        return await begun_run(*given)

    def late(run_input: RunInput) -> dict[str, Any]:
        busy()
        return load_call(run_input)

    if loads == "slowly":
        monkeypatch.setattr("workflows_core.execution.load.begun_run", slowly)
    elif loads == "in a slow task":
        monkeypatch.setattr("workflows_core.execution.beginning.load_call", late)
    async with authored_runtime(db, client) as authored:
        pass
    await publish(db, "too early", "k1", payload={"amount": 4})
    await route(db, POLICY)
    await asyncio.sleep(0.1)
    run = await authored.start(document(wait("PAID", "'k1'")), row=False)
    await publish(db, "e1", "k1")
    await route(db, POLICY)
    await asyncio.sleep(1)
    async with authored_runtime(db, client), asyncio.timeout(30):
        result = await run.handle.result()
    assert result["scopes"]["vars"]["event"] == {"amount": 5}


@pytest.mark.parametrize("on_limit", ["wait", "refuse"])
async def test_at_the_limit_an_event_waits_only_where_the_definition_asks_for_it(
    db: Database, client: Client, on_limit: str
) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        trigger = {"type": "event", "eventName": "ORDERED"}
        content = {**document(wait("PAID", "payload.id")), "trigger": trigger, "onConcurrencyLimit": on_limit}
        await authored.publish(content)
        async with db.tenant(TENANT) as conn:
            await conn.execute(text("UPDATE workflow_definitions SET concurrency_limit = 1"))
        await publish(db, "o1", event_name="ORDERED", payload={"id": "k1"})
        while len(await rows(db, "workflow_runs")) < 1:
            await asyncio.sleep(0.02)
        await publish(db, "o2", event_name="ORDERED", payload={"id": "k2"})
        while not [d for d in await rows(db, "workflow_event_deliveries") if d["event_id"] == "o2" and d["decided_at"]]:
            await asyncio.sleep(0.02)
        (second,) = [row for row in await rows(db, "workflow_event_deliveries") if row["event_id"] == "o2"]
        assert second["status"] == ("consumed" if on_limit == "wait" else "undeliverable")
        assert on_limit == "wait" or "limit" in second["reason"]
        assert [row["status"] for row in await rows(db, "workflow_runs")].count("QUEUED") == (on_limit == "wait")
        await publish(db, "p1", "k1")
        if on_limit == "wait":
            while not await QueuedStarts(db, Launcher(db, client)).one_pass():
                await asyncio.sleep(0.02)
            await publish(db, "p2", "k2")
        while {row["status"] for row in await rows(db, "workflow_runs")} != {"SUCCEEDED"}:
            await asyncio.sleep(0.02)
    assert len(await rows(db, "workflow_runs")) == (2 if on_limit == "wait" else 1)
