"""Looking back when a wait opens (docs/adr/0006): what is found, what is handed over, what is passed over."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from harness.ingress import route
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
)
from workflows_core.storage.database import Database
from workflows_core.storage.deliveries import ready_deliveries
from workflows_core.storage.run_writes import HANDED_SECONDS, MAX_HANDED_BYTES, MAX_MISSED_BYTES, write_run
from workflows_core.wire.records import ConsumedRecord

PAGE = 50
"""As many as `workflow_missed_events` answers at a time at most."""


async def write(db: Database, sequence: int, **changes: Any) -> None:
    await write_run(db, a_write(sequence, **changes), EXECUTION)


@pytest.mark.asyncio
async def test_look_back_finds_an_event_behind_many_that_do_not_fit(db: Database) -> None:
    for number in range(PAGE * 2 + 5):
        await publish(db, f"small-{number:03}")
    await publish(db, "big", payload={"amount": 50})
    await publish(db, "bigger", payload={"amount": 60})
    await route(db)
    await write(db, 1, waits=[a_wait(filters=[{"path": "amount", "op": ">", "value": 40}])])
    assert await deliveries_of(db) == {("big", "wait-1"): "new"}


@pytest.mark.asyncio
async def test_look_back_finds_an_event_behind_large_ones_and_reads_few_of_those_at_a_time(db: Database) -> None:
    """A page of the largest has 25 MB."""
    for number in range(5):
        await publish(db, f"large-{number}", payload={"amount": 1, "text": "x" * (MAX_MISSED_BYTES // 3)})
    await publish(db, "big", payload={"amount": 50})
    await route(db)
    await write(db, 1, waits=[a_wait(filters=[{"path": "amount", "op": ">", "value": 40}])])
    assert await deliveries_of(db) == {("big", "wait-1"): "new"}
    async with db.tenant(TENANT) as conn:
        await conn.execute(text("DELETE FROM workflow_event_deliveries"))
        page = text("SELECT event_id FROM workflow_missed_events(:tenant, 'wait-1', '[]', '-infinity', '', :bytes)")
        values = {"tenant": TENANT, "bytes": MAX_MISSED_BYTES}
        assert list((await conn.execute(page, values)).scalars()) == ["large-0", "large-1", "large-2"]
        everything = text("SELECT count(*) FROM workflow_missed_events(:tenant, 'wait-1', '[]', '-infinity', '')")
        assert (await conn.execute(everything, {"tenant": TENANT})).scalar_one() == 6


async def ready(db: Database) -> list[str]:
    return [delivery_id for _, delivery_id in await ready_deliveries(db, 100)]


@pytest.mark.asyncio
async def test_what_a_wait_finds_is_handed_over_and_sent_only_if_that_gets_lost(db: Database) -> None:
    await publish(db, "event-1", payload={"amount": 5})
    await publish(db, "event-2")
    await route(db)
    (handed,) = await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION, hand_over=True)
    (row,) = await rows(db, "workflow_event_deliveries")
    assert (handed.event_id, handed.payload, handed.wait_id) == ("event-1", {"amount": 5}, "wait-1")
    assert (handed.delivery_id, row["status"]) == (row["delivery_id"], "new")
    assert await ready(db) == []
    # The answer got lost, and Temporal has the write done again.
    assert list(await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION, hand_over=True)) == []
    later = row["next_attempt_at"] - row["created_at"]
    assert timedelta(seconds=HANDED_SECONDS - 1) < later < timedelta(seconds=HANDED_SECONDS + 1)
    async with db.tenant(TENANT) as conn:
        await conn.execute(text("UPDATE workflow_event_deliveries SET next_attempt_at = now()"))
    assert await ready(db) == [row["delivery_id"]]


@pytest.mark.asyncio
async def test_what_is_too_large_to_be_handed_over_is_sent(db: Database) -> None:
    half = "x" * (MAX_HANDED_BYTES // 2)
    waits = [a_wait(f"w{number}", f"k{number}") for number in range(3)]
    for number in range(3):
        await publish(db, f"e{number}", f"k{number}", payload={"text": half})
    await route(db)
    handed = await write_run(db, a_write(1, waits=waits), EXECUTION, hand_over=True)
    assert [signal.wait_id for signal in handed] == ["w0"]
    assert len(await deliveries_of(db)) == 3
    assert len(await ready(db)) == 2


@pytest.mark.asyncio
async def test_a_write_that_nobody_takes_the_answer_of_hands_nothing_over(db: Database) -> None:
    await publish(db, "event-1")
    await route(db)
    assert list(await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)) == []
    assert len(await ready(db)) == 1


TAKEN = 25
"""More than are worth a position."""


async def took_many(db: Database) -> list[str]:
    """A run that has taken many events of one key, and looked back once more; the events in order."""
    events = [f"e{number:02}" for number in range(TAKEN + 2)]
    for event_id in events:
        await publish(db, event_id)
    await route(db)
    for number, event_id in enumerate(events[:TAKEN]):
        taken = [consumed(f"w{number - 1}", events[number - 1])] if number else []
        await write(db, number + 1, waits=[a_wait(f"w{number}", look_back_from=OPENED)], consumed=taken)
        assert (await deliveries_of(db))[event_id, f"w{number}"] == "new"
    last = consumed(f"w{TAKEN - 1}", events[TAKEN - 1])
    await write(db, TAKEN + 1, waits=[a_wait("next", look_back_from=OPENED)], consumed=[last])
    assert (await deliveries_of(db))[events[TAKEN], "next"] == "new"
    (position,) = await rows(db, "workflow_run_positions")
    assert position["event_id"] in events[:TAKEN]
    return events


@pytest.mark.asyncio
async def test_a_run_that_took_many_events_looks_on_where_it_was(db: Database) -> None:
    events = await took_many(db)
    taken = [consumed("next", events[TAKEN])]
    await write(db, TAKEN + 2, waits=[a_wait("after", look_back_from=OPENED)], consumed=taken)
    assert (await deliveries_of(db))[events[TAKEN + 1], "after"] == "new"


@pytest.mark.asyncio
async def test_an_event_that_is_routed_by_a_clock_set_back_is_found(db: Database) -> None:
    events = await took_many(db)
    async with db.tenant(TENANT) as conn:
        await conn.execute(text("UPDATE workflow_runtime_events SET processed_at = processed_at + interval '1 hour'"))
        await conn.execute(text("UPDATE workflow_run_positions SET processed_at = processed_at + interval '1 hour'"))
    await publish(db, "early")
    await route(db)
    assert await rows(db, "workflow_run_positions") == []
    await write(
        db, TAKEN + 2, waits=[a_wait("after", look_back_from=OPENED)], consumed=[consumed("next", events[TAKEN])]
    )
    assert (await deliveries_of(db))["early", "after"] == "new"


@pytest.mark.asyncio
async def test_a_wait_that_looks_further_back_sees_what_was_before(db: Database) -> None:
    await publish(db, "old")
    await route(db)
    async with db.tenant(TENANT) as conn:
        await conn.execute(text("UPDATE workflow_runtime_events SET processed_at = workflow_time(1)"))
    events = await took_many(db)
    wide = a_wait("wide", look_back_from=0)
    await write(db, TAKEN + 2, waits=[wide], consumed=[consumed("next", events[TAKEN])])
    assert (await deliveries_of(db))["old", "wide"] == "new"


@pytest.mark.asyncio
async def test_what_a_run_passed_over_is_found_though_it_took_many_behind(db: Database) -> None:
    for number in range(2 * TAKEN):
        await publish(db, f"e{number:02}", payload={"amount": 100 if number % 2 else 1})
    await route(db)
    large: dict[str, Any] = {"filters": [{"path": "amount", "op": ">", "value": 40}], "look_back_from": OPENED}
    for number in range(TAKEN):
        taken = [consumed(f"w{number - 1}", f"e{2 * number - 1:02}")] if number else []
        await write(db, number + 1, waits=[a_wait(f"w{number}", **large)], consumed=taken)
    taken = [consumed(f"w{TAKEN - 1}", f"e{2 * TAKEN - 1:02}")]
    await write(db, TAKEN + 1, waits=[a_wait("any", look_back_from=OPENED)], consumed=taken)
    assert (await deliveries_of(db))["e00", "any"] == "new"


async def in_order(db: Database, count: int) -> None:
    """So many events, routed a second apart."""
    for number in range(count):
        await publish(db, f"e{number:03}")
    await route(db)
    async with db.tenant(TENANT) as conn:
        apart = "processed_at = workflow_time(1000 * CAST(substr(event_id, 2) AS integer))"
        await conn.execute(text(f"UPDATE workflow_runtime_events SET {apart}"))


@pytest.mark.asyncio
async def test_what_a_run_took_later_says_nothing_of_what_it_passed_over_between(db: Database) -> None:
    await in_order(db, 2 * TAKEN + 3)
    passed_over = TAKEN + 1
    taken: list[ConsumedRecord] = []
    for sequence in range(2 * TAKEN + 2):
        number = sequence if sequence < passed_over else sequence + 1
        since = 0 if number < passed_over else 1000 * (passed_over + 1)
        await write(db, sequence + 1, waits=[a_wait(f"w{number}", look_back_from=since)], consumed=taken)
        event_id = f"e{number:03}"
        assert (await deliveries_of(db))[event_id, f"w{number}"] == "new"
        taken = [consumed(f"w{number}", event_id)]
    (position,) = await rows(db, "workflow_run_positions")
    assert position["event_id"] > f"e{passed_over:03}"
    await write(db, 2 * TAKEN + 3, waits=[a_wait("wide", look_back_from=0)], consumed=taken)
    assert (await deliveries_of(db))[f"e{passed_over:03}", "wide"] == "new"


async def claim_many(db: Database, run: str, since: int) -> None:
    """Waits of another run that have many events from a number on."""
    waits = [a_wait(f"{run}-{number}", match="one", look_back_from=1000 * since) for number in range(TAKEN)]
    # The last one walks over what the others have.
    for sequence, opened in ((1, waits[:-1]), (2, waits)):
        await write_run(db, a_write(sequence, run_id=run, waits=opened), f"execution-{run}")
    assert await rows(db, "workflow_claim_positions") != []


@pytest.mark.asyncio
@pytest.mark.parametrize(("before", "free"), [(0, 1), (0, PAGE), (TAKEN, 1), (TAKEN, PAGE)])
async def test_what_nobody_has_is_found_though_many_behind_it_are_claimed(db: Database, before: int, free: int) -> None:
    await in_order(db, before + free + TAKEN)
    await claim_many(db, "behind", before + free)
    if before:
        await claim_many(db, "first", 0)
    picky = [{"path": "amount", "op": ">", "value": 40}]
    for number in range(2):
        wait = a_wait(f"picky-{number}", match="one", filters=picky)
        await write_run(db, a_write(1, run_id=f"picky-{number}", waits=[wait]), f"execution-picky-{number}")
    await write(db, 1, waits=[a_wait("any", match="one")])
    assert (await deliveries_of(db))[f"e{before:03}", "any"] == "new"


@pytest.mark.asyncio
async def test_an_event_is_found_by_each_of_its_keys_in_the_order_of_routing(db: Database) -> None:
    keys = {
        "a": ["key-1"],
        "b": ["x", "key-1"],
        "c": ["x"],
        "d": ["key-1", "x"],
        "e": ["x", "y", "key-1"],
        "f": ["y", "x"],
    }
    for event_id, some in keys.items():
        await publish(db, event_id, None, correlation_keys=some)
        await route(db)
    for number, expected in enumerate("abde"):
        wait_id = f"wait-{number}"
        (handed,) = await write_run(db, a_write(2 * number + 1, waits=[a_wait(wait_id)]), EXECUTION, hand_over=True)
        assert handed.event_id == expected
        await write(db, 2 * number + 2, consumed=[consumed(wait_id, expected)], waits=[])
    await write(db, 99, waits=[a_wait("last")])
    assert ("last" in {target for _, target in await deliveries_of(db)}) is False


@pytest.mark.asyncio
async def test_a_look_back_walks_over_no_event_of_another_key(db: Database) -> None:
    for number in range(60):
        await publish(db, f"other-{number}", f"other-{number}")
    await publish(db, "mine")
    await route(db)
    await write(db, 1, waits=[a_wait("elsewhere", "other-0")])
    async with db.tenant(TENANT) as conn:
        await conn.execute(text("UPDATE workflow_run_waits SET key = 'key-1' WHERE wait_id = 'elsewhere'"))
        await conn.execute(text("DELETE FROM workflow_event_deliveries"))
        fetched = text("SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'workflow_runtime_events'")
        before = (await conn.execute(fetched)).scalar_one()
        looked = "SELECT event_id FROM workflow_missed_events(:tenant, 'elsewhere', '[]', '-infinity', '')"
        assert list((await conn.execute(text(looked), {"tenant": TENANT})).scalars()) == ["mine"]
        assert (await conn.execute(fetched)).scalar_one() - before == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("ahead_ms", [-3_600_000, 0, 3_600_000])
async def test_lookback_ms_is_the_same_window_whatever_temporals_clock_says(db: Database, ahead_ms: int) -> None:
    """With one an hour ahead nothing was found, also of behind the opening; with a late one what was long before."""
    await publish(db, "outside")
    await publish(db, "within")
    await route(db)
    async with db.tenant(TENANT) as conn:
        earlier = "UPDATE workflow_runtime_events SET processed_at = processed_at - interval '40 minutes'"
        await conn.execute(text(f"{earlier} WHERE event_id = 'outside'"))
    opened = int(time.time() * 1000) + ahead_ms
    half_an_hour = 1_800_000
    wait = a_wait(opened_at=opened, look_back_from=opened - half_an_hour, lookback_ms=half_an_hour)
    await write(db, 1, waits=[wait, a_wait("from-the-start", "key-2")], temporal_ahead_ms=float(ahead_ms))
    assert await deliveries_of(db) == {("within", "wait-1"): "new"}
    windows = {row["wait_id"]: row["look_back_from"].timestamp() for row in await rows(db, "workflow_run_waits")}
    assert windows["from-the-start"] == 0, "that one is by the database's clock already"
