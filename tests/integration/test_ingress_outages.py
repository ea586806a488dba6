"""Ingress while the database goes away, cuts it off, or makes it wait; and a fault of its own code."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from temporalio.client import Client

from harness.databases import MigratedDatabase, engine_of
from harness.forwarding import Forwarder
from harness.holding import Held, holding, until
from harness.ingress import route
from harness.interpreted import document, wait
from harness.run_records import EXECUTION, RUN, TENANT, a_wait, a_write, deliveries_of, publish, rows
from service_host.postgres import create_engine
from service_host.settings import PostgresSettings, load_settings
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.ingress.loop import IngressLoop
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.ingress.router import route_event, route_pending
from workflows_core.ingress.sender import Sender
from workflows_core.ingress.wake import Wake
from workflows_core.launching.launcher import Launcher
from workflows_core.storage.database import Database, is_unavailable
from workflows_core.storage.definitions import publish_version, save_draft
from workflows_core.storage.events import publish_event
from workflows_core.storage.run_writes import write_in, write_run
from workflows_core.wire.names import AUTHORED_QUEUE, RUN_WORKFLOW, workflow_id_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
POLICY = IngressPolicy(poll_seconds=0.1, first_delay_seconds=0.01, lease_seconds=0.01)


@dataclass
class Progress:
    """What the loop has told its process."""

    marks: int = 0
    reasons: list[str] = field(default_factory=list)

    def mark(self, detail: str = "") -> None:
        self.marks += 1

    def degraded(self, reason: str) -> None:
        self.reasons.append(reason)


@asynccontextmanager
async def through(database: MigratedDatabase) -> AsyncIterator[tuple[Forwarder, Database]]:
    """The database behind an address that can go away."""
    between = Forwarder(database.host, database.port)
    await between.open()
    async with engine_of(database.url.replace(f":{database.port}/", f":{between.port}/")) as engine:
        yield between, Database(engine)
    await between.close()


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Work that goes on beside the block."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def event_row(db: Database, event_id: str) -> dict[str, Any]:
    (row,) = [row for row in await rows(db, "workflow_runtime_events") if row["event_id"] == event_id]
    return row


async def until_routed(db: Database, event_id: str) -> None:
    async def routed() -> bool:
        return bool((await event_row(db, event_id))["status"] == "routed")

    await until(routed)


LOCK_KEY = "SELECT workflow_lock_keys(%s, ARRAY['PAID'], ARRAY['key-1'])"


async def test_a_database_that_goes_away_is_told_and_waited_for(
    db: Database, client: Client, database: MigratedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress()
    async with (
        through(database) as (between, far),
        beside(IngressLoop(far, Launcher(far, client), JlensEngine(), POLICY).run(progress)) as loop,
    ):
        await publish(db, "before")
        await until_routed(db, "before")
        assert progress.reasons == []

        async def told() -> bool:
            return len(progress.reasons) >= 3

        async def turning() -> bool:
            return progress.marks > marks

        await between.close()
        await until(told)
        await publish(db, "meanwhile")
        marks = progress.marks
        assert {reason.partition(": ")[0] for reason in progress.reasons} == {"PostgreSQL does not answer"}
        lines = [record for record in caplog.records if getattr(record, "event", None) == "ingress_waits"]
        assert lines[0].getMessage().startswith("event ingress waits: PostgreSQL does not answer: ")
        assert len(lines) < len(progress.reasons), "people are not told at every attempt"

        await between.open()
        await until_routed(db, "meanwhile")
        await until(turning)
        assert not loop.done()


async def test_hints_come_again_once_the_database_is_back(
    db: Database, database: MigratedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "workflows_core.ingress.wake")
    async with through(database) as (between, far):
        wake = Wake(far.engine)
        async with beside(wake.listen()), asyncio.timeout(30):
            await wake.wait("event", 60)
            await between.close()
            while "not listening for events, polling goes on" not in caplog.text:
                await asyncio.sleep(0.02)
            await between.open()
            await wake.wait("event", 60)
            await publish(db, "e1")
            await wake.wait("event", 60)


async def test_what_becomes_due_later_is_found_without_any_hint(db: Database, client: Client) -> None:
    progress = Progress()
    async with beside(IngressLoop(db, Launcher(db, client), JlensEngine(), POLICY).run(progress)):
        async with db.tenant(TENANT) as conn:
            await publish_event(
                conn, tenant=TENANT, event_id="e1", event_name="PAID", correlation_key="key-1", payload={}
            )
            later = "UPDATE workflow_runtime_events SET next_attempt_at = clock_timestamp() + interval '1 second'"
            await conn.execute(text(later))
        await until_routed(db, "e1")
    found = await event_row(db, "e1")
    assert found["processed_at"] >= found["next_attempt_at"]
    assert progress.reasons == []


async def test_a_fault_of_the_code_ends_the_loop_with_that_fault(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> int:
        raise LookupError("nobody thought of this")

    monkeypatch.setattr("workflows_core.ingress.loop.route_pending", broken)
    progress = Progress()
    loop = IngressLoop(db, Launcher(db, client), JlensEngine(), POLICY)
    with pytest.raises(LookupError, match="nobody thought of this"):
        async with asyncio.timeout(30):
            await loop.run(progress)
    assert progress.reasons == [], "the database is not to blame"


async def test_a_lane_that_hangs_is_not_hidden_by_the_other_one(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = asyncio.Event()

    async def hanging(*arguments: Any, **options: Any) -> int:
        await release.wait()
        return await route_pending(*arguments, **options)

    monkeypatch.setattr("workflows_core.ingress.loop.route_pending", hanging)
    progress = Progress()
    async with beside(IngressLoop(db, Launcher(db, client), JlensEngine(), POLICY).run(progress)):
        await asyncio.sleep(5 * POLICY.poll_seconds)
        assert (progress.marks, progress.reasons) == (0, []), "sending turned, routing did not"
        release.set()

        async def turned() -> bool:
            return progress.marks > 0

        await until(turned)


async def test_an_event_whose_router_is_cut_off_stays_as_it_was_and_goes_with_the_next_pass(
    db: Database, database: MigratedDatabase
) -> None:
    await publish(db, "e1")
    async with holding(database, LOCK_KEY, TENANT) as held:
        routing = asyncio.create_task(route_pending(db, POLICY))
        (pid,) = await held.waiting(1)
        await held.cut(pid)
    with pytest.raises(DBAPIError) as raised:
        await routing
    assert is_unavailable(raised.value)
    found = await event_row(db, "e1")
    assert (found["status"], found["attempts"], found["error_message"]) == ("pending", 0, None)
    assert await route_pending(db, POLICY) == 1
    assert (await event_row(db, "e1"))["status"] == "routed"


async def test_a_router_that_lost_to_a_quicker_one_counts_no_failed_attempt(
    db: Database, database: MigratedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    await publish(db, "e1")
    async with holding(database, LOCK_KEY, TENANT) as held:
        slow = asyncio.create_task(route_pending(db, POLICY))
        (pid,) = await held.waiting(1)
        quick = asyncio.create_task(route_event(db, TENANT, "e1", POLICY))
        await held.waiting(2)
        # Its statement took too long; it queues again, now behind the other one.
        await held.interrupt(pid)
    assert (await slow, await quick) == (1, True)
    found = await event_row(db, "e1")
    assert (found["status"], found["attempts"], found["error_message"]) == ("routed", 0, None)
    assert await deliveries_of(db) == {("e1", "wait-1"): "new"}
    assert "could not be routed" not in caplog.text


async def test_a_key_that_somebody_holds_delays_no_event_of_another_key(
    db: Database, database: MigratedDatabase
) -> None:
    """Saying that the event could not be routed took the very same key: nothing of its tenant was routed."""
    await publish(db, "e1")
    await publish(db, "e2", "free")
    async with holding(database, LOCK_KEY, TENANT) as held:
        routing = asyncio.create_task(route_pending(db, POLICY))
        await held.time_out()
        assert await routing == 2
        found = await event_row(db, "e1")
        assert (found["status"], found["attempts"]) == ("pending", 0)
        assert found["error_message"] is not None
        assert (await event_row(db, "e2"))["status"] == "routed"
    async with asyncio.timeout(10):
        while (await event_row(db, "e1"))["status"] == "pending":
            await route_pending(db, POLICY)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("named", [True, False], ids=["named", "derived"])
async def test_an_event_whose_key_was_held_is_overtaken_by_no_other_of_that_key(
    db: Database, database: MigratedDatabase, named: bool
) -> None:
    """It was put off for a second, and the next one of its key was routed in its place."""
    for event_id in ("e1", "e2", "e3"):
        await publish(db, event_id, "key-1" if named else None, payload={"ticketId": "key-1"})
    await publish(db, "free", "key-2")
    async with holding(database, LOCK_KEY, TENANT) as held:
        routing = asyncio.create_task(route_pending(db, POLICY))
        await held.time_out()
    assert await routing == 4
    assert (await event_row(db, "free"))["status"] == "routed"
    await route(db, POLICY)
    routed = {name: await event_row(db, name) for name in ("e1", "e2", "e3")}
    assert sorted(routed, key=lambda name: str(routed[name]["processed_at"])) == ["e1", "e2", "e3"]
    assert {row["attempts"] for row in routed.values()} == {0}


@pytest.mark.parametrize("named", [True, False], ids=["named", "derived"])
async def test_an_event_that_starts_a_run_is_not_overtaken_by_what_the_run_waits_for(
    db: Database, database: MigratedDatabase, named: bool
) -> None:
    """Behind a table that was locked for a minute; the run looks back to its start's routing, and waited for ever."""
    key, payload = "key-1" if named else None, {"ticketId": "key-1"}
    await publish(db, "start", key, event_name="ORDERED", payload=payload)
    await publish(db, "event", key, payload=payload)
    await publish(db, "free", "key-2")
    async with holding(database, "SELECT workflow_lock_keys(%s, ARRAY['ORDERED'], ARRAY['key-1'])", TENANT) as held:
        routing = asyncio.create_task(route_pending(db, POLICY))
        await held.time_out()
        assert await routing == 3
        assert (await event_row(db, "free"))["status"] == "routed"
    await route(db, POLICY)
    found = await rows(db, "workflow_runtime_events", order="processed_at")
    assert [row["event_id"] for row in found] == ["free", "start", "event"]


async def passes_while_held(db: Database, held: Held) -> None:
    """A pass that waits for what is held until its statement's time is over, and three behind it."""
    routing = asyncio.create_task(route_pending(db, POLICY))
    await held.time_out()
    await routing
    for _ in range(3):
        await route_pending(db, POLICY)


@pytest.mark.parametrize("named", [True, False], ids=["named", "derived"])
async def test_a_key_that_is_held_with_many_events_behind_it_delays_no_event_of_another_key(
    db: Database, database: MigratedDatabase, named: bool
) -> None:
    """Each pass looked at the oldest ones again, which were all of that key, and never behind them."""
    held_back = [f"e{number:02}" for number in range(3 * POLICY.batch_size)]
    for event_id in held_back:
        await publish(db, event_id, "key-1" if named else None, payload={"ticketId": "key-1"})
    await publish(db, "free", "key-2")
    await publish(db, "foreign", "key-1", tenant="other")
    async with holding(database, LOCK_KEY, TENANT) as held:
        await passes_while_held(db, held)
        assert (await event_row(db, "free"))["status"] == "routed"
        (foreign,) = await rows(db, "workflow_runtime_events", tenant="other")
        assert foreign["status"] == "routed"
    await route(db, POLICY)
    found = await rows(db, "workflow_runtime_events", order="processed_at")
    assert [row["event_id"] for row in found] == ["free", *held_back]


async def test_a_key_that_is_held_for_long_is_waited_for_once_and_told_once(
    db: Database, database: MigratedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """What stays the first of its keys would cost every pass a statement's whole time-out."""
    await publish(db, "e1")
    async with holding(database, LOCK_KEY, TENANT) as held:
        await passes_while_held(db, held)
        assert "lock timeout" in (await event_row(db, "e1"))["error_message"]
    assert [record.getMessage()[:8] for record in caplog.records if record.levelname == "WARNING"] == ["event e1"]
    await route(db, POLICY)
    assert (await event_row(db, "e1"))["status"] == "routed"


async def test_an_event_whose_key_is_held_is_not_waited_for_alone(db: Database, database: MigratedDatabase) -> None:
    await publish(db, "e1")
    await publish(db, "e2", tenant="other")

    async def other_routed() -> bool:
        (found,) = await rows(db, "workflow_runtime_events", tenant="other")
        return bool(found["status"] == "routed")

    patient = create_async_engine(
        database.url.replace("postgresql://", "postgresql+psycopg://", 1),
        connect_args={"options": "-c statement_timeout=60000"},
    )
    async with holding(database, LOCK_KEY, TENANT) as held, beside(_route_at_rest(Database(patient))) as routing:
        await until(other_routed)
        await held.waiting(1)
        found = await event_row(db, "e1")
        assert (found["status"], found["attempts"], found["error_message"]) == ("pending", 0, None)
        assert not routing.done()
    await patient.dispose()


async def _route_at_rest(db: Database) -> None:
    await route_pending(db, POLICY, at_rest=True)


async def test_what_temporal_has_is_noted_though_another_delivery_lost_its_connection(
    db: Database, client: Client, database: MigratedDatabase
) -> None:
    content = {**document(wait()), "trigger": {"type": "event", "eventName": "PAID"}}
    async with db.tenant(TENANT) as conn:
        await save_draft(conn, workflow_id="w", key="w", name="W", document=content)
        await publish_version(conn, "w", content)
    await client.start_workflow(RUN_WORKFLOW, {}, id=workflow_id_of(RUN), task_queue=AUTHORED_QUEUE)
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    await publish(db, "e1")
    await route(db, POLICY)
    sender = Sender(db, Launcher(db, client), JlensEngine(), POLICY)
    async with holding(database, "LOCK TABLE workflow_definitions") as held:
        sending = asyncio.create_task(sender.send_ready())
        (pid,) = await held.waiting(1)
        await held.cut(pid)
        with pytest.raises(DBAPIError) as raised:
            await sending
        assert is_unavailable(raised.value)
        assert await deliveries_of(db) == {("e1", "wait-1"): "accepted", ("e1", "w"): "new"}
    while "new" in (await deliveries_of(db)).values():
        await sender.send_ready()
    (start,) = [row for row in await rows(db, "workflow_event_deliveries") if row["target_id"] == "w"]
    assert (start["status"], start["attempts"]) == ("consumed", 1), "the cut was no attempt"


async def test_a_wait_that_opens_before_its_event_is_routed_is_seen_whatever_isolation_the_database_has_by_default(
    database: MigratedDatabase,
) -> None:
    """What the router read behind the key's lock was of before it, and the event was lost."""
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        await admin.execute(f"ALTER DATABASE {database.name} SET default_transaction_isolation = 'repeatable read'")
    engine = create_engine(load_settings(PostgresSettings, database.environment))
    db = Database(engine)
    await publish(db, "e1")
    async with holding(database, "SELECT 1") as held, db.tenant(TENANT) as conn:
        await write_in(conn, a_write(1, waits=[a_wait()]), EXECUTION)
        routing = asyncio.create_task(route_pending(db, POLICY))
        await held.waiting(1)
    assert await routing == 1
    assert await deliveries_of(db) == {("e1", "wait-1"): "new"}
    await engine.dispose()
