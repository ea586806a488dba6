"""Event ingress with many events: none lost, none twice, bad ones stop nobody."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text
from temporalio.client import Client

from harness.authored import authored_runtime
from harness.ingress import ingress
from harness.interpreted import document, wait
from harness.run_records import TENANT, a_wait, a_write, publish, rows
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.ingress.router import route_pending
from workflows_core.launching.events import requeue_event
from workflows_core.publishing.contracts import import_events, import_schemas
from workflows_core.storage.database import Database
from workflows_core.storage.run_writes import write_run

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1800)]
POLICY = IngressPolicy(batch_size=50)


@asynccontextmanager
async def routers(db: Database, count: int = 2) -> AsyncIterator[None]:
    """So many routers beside the block."""

    async def loop() -> None:
        while True:
            if not await route_pending(db, POLICY):
                await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(loop()) for _ in range(count)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def count(db: Database, query: str) -> int:
    async with db.tenant(TENANT) as conn:
        return int((await conn.execute(text(query))).scalar_one())


async def routed(db: Database) -> None:
    while await count(db, "SELECT count(*) FROM workflow_runtime_events WHERE status = 'pending'"):
        await asyncio.sleep(0.1)


async def test_ten_thousand_events_published_up_to_twenty_times_are_ten_thousand_deliveries(db: Database) -> None:
    chance = random.Random(7)  # noqa: S311 - chosen loads, no secrets
    for run in range(100):
        waits = [a_wait(f"w{run}-{number}", f"k{run * 100 + number}") for number in range(100)]
        await write_run(db, a_write(1, run_id=f"r{run}", waits=waits), f"x{run}")
    work = [number for number in range(10_000) for _ in range(chance.randint(1, 20))]
    chance.shuffle(work)
    fresh: Counter[int] = Counter()

    async def sender() -> None:
        while work:
            number = work.pop()
            # Not `+=` of the awaited value: that reads the count before the others have changed it.
            is_new = await publish(db, f"e{number}", f"k{number}")
            fresh[number] += is_new

    async with routers(db):
        await asyncio.gather(*(sender() for _ in range(8)))
        await routed(db)
    assert set(fresh.values()) == {1}
    assert len(fresh) == 10_000
    found = await rows(db, "workflow_event_deliveries")
    assert Counter(row["event_id"] for row in found) == Counter(f"e{number}" for number in range(10_000))


async def test_ten_thousand_events_that_come_before_their_waits_are_all_matched(db: Database) -> None:
    chance = random.Random(11)  # noqa: S311 - chosen loads, no secrets
    slots = asyncio.Semaphore(18)

    async def pair(number: int) -> None:
        async with slots:
            await publish(db, f"e{number}", f"k{number}")
        await asyncio.sleep(chance.uniform(0, 5))
        async with slots:
            waits = [a_wait(f"w{number}", f"k{number}")]
            await write_run(db, a_write(1, run_id=f"r{number}", waits=waits), f"x{number}")

    async with routers(db):
        for first in range(0, 10_000, 1000):
            await asyncio.gather(*(pair(number) for number in range(first, first + 1000)))
        await routed(db)
    found = {(row["event_id"], row["target_id"]) for row in await rows(db, "workflow_event_deliveries")}
    assert found == {(f"e{number}", f"w{number}") for number in range(10_000)}


async def test_five_hundred_bad_events_among_ten_thousand_are_dead_and_go_again(db: Database) -> None:
    async with db.tenant(TENANT) as conn:
        await import_schemas(conn, {"payload.Paid.v1": {"properties": {"amount": {"type": "integer"}}}})
        await import_events(conn, {"PAID": {"payloadSchemaRef": "payload.Paid.v1"}})
    bad = set(range(0, 10_000, 20))
    await write_run(db, a_write(1, waits=[a_wait("w", "last")]), "execution-1")
    numbers = list(range(10_000))

    async def sender() -> None:
        while numbers:
            number = numbers.pop()
            await publish(db, f"e{number}", "any", payload={"amount": "no" if number in bad else number})

    async with routers(db):
        await asyncio.gather(*(sender() for _ in range(8)))
        await publish(db, "last", "last", payload={"amount": 1})
        await routed(db)
        found = await rows(db, "workflow_runtime_events")
        assert Counter(row["status"] for row in found) == {"dead": 500, "routed": 9501}
        assert all("payload.Paid.v1" in row["error_message"] for row in found if row["status"] == "dead")
        async with db.tenant(TENANT) as conn:
            await import_schemas(conn, {"payload.Paid.v1": {}})
            for number in sorted(bad):
                await requeue_event(conn, TENANT, f"e{number}")
        await routed(db)
    assert {row["status"] for row in await rows(db, "workflow_runtime_events")} == {"routed"}


async def test_nine_thousand_events_to_one_run_are_all_seen_and_delay_no_other(db: Database, client: Client) -> None:
    async def latency(key: str) -> float:
        run = await authored.start(document(wait("PAID", "payload.id")), {"id": key})
        await run.until("WAITING")
        begun = time.perf_counter()
        await publish(db, f"event-{key}", key)
        await run.handle.result()
        return time.perf_counter() - begun

    loop = {
        "type": "control.while",
        "condition": {"$expr": "coalesce(vars.seen, 0) < 9000"},
        "maxIterations": 9000,
        "body": [
            {
                "id": "next",
                "type": "event.wait",
                "config": {
                    "eventName": "MANY",
                    "correlationKey": {"$expr": "'many'"},
                    "assign": {"seen": {"$expr": "coalesce(vars.seen, 0) + 1"}},
                },
            }
        ],
    }
    async with authored_runtime(db, client) as authored, ingress(db, client):
        usual = sorted([await latency(f"before-{number}") for number in range(20)])[10]
        many = await authored.start(document(loop))
        for number in range(9000):
            await publish(db, f"many-{number}", "many", event_name="MANY", payload={"n": number})
        during = sorted([await latency(f"during-{number}") for number in range(20)])[10]
        result = await many.handle.result()
    assert result["scopes"]["vars"]["seen"] == 9000
    taken = [row for row in await rows(db, "workflow_event_deliveries") if row["status"] == "consumed"]
    assert len({row["event_id"] for row in taken if row["run_id"] == many.run_id}) == 9000
    print(f"\nusual {usual * 1000:.0f} ms, during {during * 1000:.0f} ms")  # noqa: T201 - the figure is for the record
