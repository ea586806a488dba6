"""Deliveries that cannot be sent as they are: what becomes of them, and what people are told."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from temporalio.client import Client

from harness.databases import MigratedDatabase, engine_of
from harness.forwarding import cut_off
from harness.holding import holding
from harness.ingress import route
from harness.interpreted import document, wait
from harness.run_records import EXECUTION, RUN, TENANT, a_wait, a_write, consumed, deliveries_of, publish, rows
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.ingress.router import run_id_of_start
from workflows_core.ingress.sender import Sender
from workflows_core.launching.launcher import Launcher, LaunchPolicy, LaunchRequest
from workflows_core.launching.problems import LaunchRejected
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version, save_draft
from workflows_core.storage.deliveries import delivery_failed, mark_accepted, ready_deliveries, take_deliveries
from workflows_core.storage.run_writes import write_run
from workflows_core.wire.names import AUTHORED_QUEUE, RUN_WORKFLOW, workflow_id_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
_OTHER_EVENTS = (
    "INSERT INTO workflow_runtime_events (tenant, event_id, event_name, status)"
    " SELECT 'acme', 'other-' || n, 'PAID', 'routed' FROM generate_series(1, 5000) AS n"
)
_OTHER_DELIVERIES = (
    "INSERT INTO workflow_event_deliveries (tenant, delivery_id, event_id, target_kind, target_id, run_id, status)"
    " SELECT 'acme', md5('d' || n), 'other-' || n, 'wait', 'other-' || n, 'other-' || n, 'consumed'"
    " FROM generate_series(1, 5000) AS n"
)
POLICY = IngressPolicy(delivery_attempts=1, first_delay_seconds=0.01, lease_seconds=0.01)


def sender(db: Database, client: Client, policy: LaunchPolicy | None = None) -> Sender:
    return Sender(db, Launcher(db, client, policy), JlensEngine(), POLICY)


async def started_by(db: Database, event_name: str, **trigger: Any) -> None:
    """Publishes workflow `w`, which such an event starts."""
    started = {"type": "event", "eventName": event_name, **trigger}
    content = {**document(wait()), "trigger": started}
    async with db.tenant(TENANT) as conn:
        await save_draft(conn, workflow_id="w", key="w", name="W", document=content)
        await publish_version(conn, "w", content)


async def open_run(client: Client) -> None:
    """An execution of `RUN` that nobody works on."""
    await client.start_workflow(RUN_WORKFLOW, {}, id=workflow_id_of(RUN), task_queue=AUTHORED_QUEUE)


async def the_delivery(db: Database, target_id: str) -> dict[str, Any]:
    (row,) = [row for row in await rows(db, "workflow_event_deliveries") if row["target_id"] == target_id]
    return row


async def test_a_workflow_that_its_event_starts_no_more_says_so(db: Database, client: Client) -> None:
    await started_by(db, "ORDERED")
    await publish(db, "o1", event_name="ORDERED")
    await route(db, POLICY)
    await started_by(db, "SHIPPED")
    await sender(db, client).send_ready()
    found = await the_delivery(db, "w")
    assert found["status"] == "undeliverable"
    assert found["reason"] == "no published version of the workflow is started by 'ORDERED' any more"
    assert await rows(db, "workflow_runs") == []


async def test_an_event_that_the_trigger_cannot_map_names_what_is_wrong(db: Database, client: Client) -> None:
    await started_by(db, "ORDERED", payloadMapping={"number": {"$expr": "$number(event.payload.text)"}})
    await publish(db, "bad", "k1", event_name="ORDERED", payload={"text": "seven"})
    await publish(db, "good", "k2", event_name="ORDERED", payload={"text": "7"})
    await route(db, POLICY)
    while await sender(db, client).send_ready():
        pass
    assert await deliveries_of(db) == {("bad", "w"): "undeliverable", ("good", "w"): "consumed"}
    (bad,) = [row for row in await rows(db, "workflow_event_deliveries") if row["event_id"] == "bad"]
    assert bad["reason"].startswith("payloadMapping.number: ")
    assert [row["input_json"] for row in await rows(db, "workflow_runs")] == [{"number": 7}]


async def test_a_start_that_temporal_refused_before_its_sender_died_is_not_tried_for_ever(
    db: Database, client: Client
) -> None:
    await started_by(db, "ORDERED")
    await publish(db, "o1", event_name="ORDERED")
    await route(db, POLICY)
    run_id = run_id_of_start(TENANT, "o1", "w")
    impossible = LaunchPolicy(run_timeout=timedelta(seconds=-1))
    with pytest.raises(LaunchRejected):
        await Launcher(db, client, impossible).launch(LaunchRequest(tenant=TENANT, workflow="w", run_id=run_id))
    assert await deliveries_of(db) == {("o1", "w"): "new"}
    await sender(db, client).send_ready()
    found = await the_delivery(db, "w")
    assert found["status"] == "undeliverable"
    assert found["reason"] == f"run {run_id} could not be launched; its row says why"
    (run,) = await rows(db, "workflow_runs")
    assert (run["status"], run["error_json"]["code"]) == ("FAILED", "LAUNCH_REJECTED")


async def test_while_temporal_is_away_nothing_is_given_up_and_all_of_it_goes_later(
    db: Database, client: Client, temporal: EmbeddedTemporal
) -> None:
    await started_by(db, "PAID")
    await open_run(client)
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    await publish(db, "e1")
    await route(db, POLICY)
    async with cut_off(temporal) as away:
        assert await sender(db, away, LaunchPolicy(rpc_seconds=0.5)).send_ready() == 2
    for target in ("wait-1", "w"):
        found = await the_delivery(db, target)
        assert (found["status"], found["attempts"]) == ("new", 1), "what Temporal itself refuses is dead after one"
        assert "Temporal does not answer" in found["reason"]
    while "new" in (await deliveries_of(db)).values():
        await sender(db, client).send_ready()
    assert await deliveries_of(db) == {("e1", "wait-1"): "accepted", ("e1", "w"): "consumed"}


async def test_starts_of_a_workflow_that_somebody_holds_keep_no_other_delivery_waiting(
    db: Database, client: Client, database: MigratedDatabase
) -> None:
    """Each pass took the oldest ones again, and waited for the workflow's row as long as a statement may."""
    await started_by(db, "ORDERED")
    await open_run(client)
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    starts = [f"o{number:02}" for number in range(2 * POLICY.batch_size)]
    for event_id in starts:
        await publish(db, event_id, event_id, event_name="ORDERED")
    await publish(db, "e1")
    await route(db, POLICY)
    policy = IngressPolicy(first_delay_seconds=3, lease_seconds=0.01)
    impatient = create_async_engine(
        database.url.replace("postgresql://", "postgresql+psycopg://", 1),
        connect_args={"options": "-c statement_timeout=500"},
    )
    held_up = Sender(Database(impatient), Launcher(Database(impatient), client), JlensEngine(), policy)
    async with holding(database, "SELECT 1 FROM workflow_definitions FOR UPDATE"):
        for _ in range(3):
            await held_up.send_ready()
    await impatient.dispose()
    found = {row["event_id"]: row for row in await rows(db, "workflow_event_deliveries")}
    assert found["e1"]["status"] == "accepted"
    assert {found[event_id]["status"] for event_id in starts} == {"new"}
    waited = [event_id for event_id in starts if "statement timeout" in found[event_id]["reason"]]
    assert waited == starts[: POLICY.batch_size], "that it is held is known then"
    async with db.tenant(TENANT) as conn:
        await conn.execute(text("UPDATE workflow_event_deliveries SET next_attempt_at = now()"))
    free = Sender(db, Launcher(db, client), JlensEngine(), POLICY, held=held_up.held)
    while "new" in (await deliveries_of(db)).values():
        await free.send_ready()
    assert {row["status"] for row in await rows(db, "workflow_event_deliveries")} == {"accepted", "consumed"}
    assert free.held == set()


async def test_a_wait_is_sent_no_second_event_while_temporal_has_the_first(db: Database) -> None:
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    await publish(db, "e1")
    await route(db, POLICY)
    [(_, sent)] = await ready_deliveries(db, 10)
    await mark_accepted(db, TENANT, [sent])
    await publish(db, "e2")
    await route(db, POLICY)
    assert await deliveries_of(db) == {("e1", "wait-1"): "accepted"}
    await write_run(db, a_write(2, consumed=[consumed("wait-1", "e1")], waits=[a_wait("wait-2")]), EXECUTION)
    assert await deliveries_of(db) == {("e1", "wait-1"): "consumed", ("e2", "wait-2"): "new"}


async def test_what_the_run_has_decided_stays_when_its_sender_notes_that_temporal_has_it(db: Database) -> None:
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    await publish(db, "e1")
    await route(db)
    [(_, sent)] = await ready_deliveries(db, 10)
    await write_run(db, a_write(2, consumed=[consumed("wait-1", "e1")], waits=[]), EXECUTION)
    await mark_accepted(db, TENANT, [sent])
    assert await deliveries_of(db) == {("e1", "wait-1"): "consumed"}


async def test_an_event_that_the_run_took_as_a_signal_before_it_was_routed_is_not_sent_to_its_next_wait(
    db: Database,
) -> None:
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    await publish(db, "e1")
    await write_run(db, a_write(2, consumed=[consumed("wait-1", "e1")], waits=[a_wait("wait-2")]), EXECUTION)
    await route(db)
    assert await deliveries_of(db) == {}


async def test_of_two_that_found_a_delivery_one_takes_it(db: Database) -> None:
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    await publish(db, "e1")
    await route(db)
    [(_, ready)] = await ready_deliveries(db, 10)
    assert len(await take_deliveries(db, TENANT, [ready], 60)) == 1
    assert await take_deliveries(db, TENANT, [ready], 60) == []


@pytest.mark.parametrize(("took", "status"), [(True, "consumed"), (False, "unknown")])
async def test_a_delivery_that_is_dead_gets_the_verdict_of_the_run_all_the_same(
    db: Database, took: bool, status: str
) -> None:
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    await publish(db, "e1")
    await route(db)
    async with db.tenant(TENANT) as conn:
        await conn.execute(text("UPDATE workflow_event_deliveries SET status = 'dead'"))
    taken = [consumed("wait-1", "e1")] if took else []
    await write_run(db, a_write(2, consumed=taken, waits=[]), EXECUTION)
    assert await deliveries_of(db) == {("e1", "wait-1"): status}


async def test_a_delivery_is_dead_under_the_lock_of_its_key_only(db: Database) -> None:
    """Two processes that had it at once counted past the last attempt, and its wait looked back without the lock."""
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    await publish(db, "e1")
    await route(db, POLICY)
    (ready,) = await ready_deliveries(db, 10)
    (first,) = await take_deliveries(db, TENANT, [ready[1]], 0)
    (second,) = await take_deliveries(db, TENANT, [ready[1]], 0)
    held = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
    for delivery in (first, second):
        async with db.tenant(TENANT) as conn:
            assert await delivery_failed(conn, delivery, "no", delay_seconds=0, max_attempts=2) == "new"
            assert (await conn.execute(held)).scalar_one() == 0
    (third,) = await take_deliveries(db, TENANT, [ready[1]], 0)
    async with db.tenant(TENANT) as conn:
        assert await delivery_failed(conn, third, "no", delay_seconds=0, max_attempts=2) == "dead"
        assert (await conn.execute(held)).scalar_one() == 1


async def test_what_a_wait_for_one_gets_behind_a_dead_delivery_is_its_alone(db: Database) -> None:
    await write_run(db, a_write(1, waits=[a_wait(match="one")]), EXECUTION)
    for event_id in ("poison", "good"):
        await publish(db, event_id)
        await route(db)
    ((_, ready),) = await ready_deliveries(db, 10)
    (taken,) = await take_deliveries(db, TENANT, [ready], 0)
    async with db.tenant(TENANT) as conn:
        assert await delivery_failed(conn, taken, "no", delay_seconds=0, max_attempts=1) == "dead"
    found = {("poison", "wait-1"): "dead", ("good", "wait-1"): "new"}
    assert await deliveries_of(db) == found
    await write_run(db, a_write(1, run_id="run-2", waits=[a_wait("next", match="one")]), "execution-2")
    assert await deliveries_of(db) == found


async def test_what_temporal_has_is_noted_while_the_run_writes_that_it_took_it(
    db: Database, database: MigratedDatabase
) -> None:
    """Each had a delivery that the other one wanted: PostgreSQL ended one of them after a second."""
    waits = [a_wait(f"wait-{number}", f"key-{number}") for number in range(9)]
    await write_run(db, a_write(1, waits=waits), EXECUTION)
    for number in range(9):
        await publish(db, f"e{number}", f"key-{number}")
    await route(db, POLICY)
    found = await rows(db, "workflow_event_deliveries", order="ordinal")
    taken = [consumed(row["target_id"], row["event_id"]) for row in reversed(found)]
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        # Among few rows the planner has all of them looked at, in one order.
        for way in ("seqscan", "hashjoin", "bitmapscan"):
            await admin.execute(f"ALTER DATABASE {database.name} SET enable_{way} = off")
        await admin.execute(_OTHER_EVENTS)
        await admin.execute(_OTHER_DELIVERIES)
        await admin.execute("VACUUM ANALYZE workflow_event_deliveries, workflow_runtime_events")
    middle = "SELECT 1 FROM workflow_event_deliveries WHERE delivery_id = %s FOR UPDATE"
    async with engine_of(database.url) as engine:
        busy = Database(engine)
        async with holding(database, middle, found[4]["delivery_id"]) as held:
            accepting = asyncio.create_task(mark_accepted(busy, TENANT, [row["delivery_id"] for row in found]))
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await held.waiting(1)
            writing = asyncio.create_task(write_run(busy, a_write(2, consumed=taken, waits=[]), EXECUTION))
            await held.waiting(1 if accepting.done() else 2)
        await asyncio.gather(accepting, writing)
    assert set((await deliveries_of(db)).values()) == {"consumed"}
