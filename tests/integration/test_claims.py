"""`match: one`: of such waits one gets an event, and the next one when the first does not take it."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from harness.authored import authored_runtime
from harness.ingress import ingress, route
from harness.interpreted import document, wait
from harness.run_records import TENANT, a_wait, a_write, closed, consumed, deliveries_of, publish, rows
from workflows_core.errors import ErrorCategory, Failure, Refused
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.ingress.router import route_pending
from workflows_core.launching.events import requeue_event
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version, save_draft
from workflows_core.storage.repairs import end_run
from workflows_core.storage.run_writes import add_deliveries, new_delivery, write_run

pytestmark = pytest.mark.asyncio(loop_scope="session")
POLICY = IngressPolicy(first_delay_seconds=0.01)


def one(wait_id: str, opened_at: int = 0, **changes: Any) -> Any:
    return a_wait(wait_id, match="one", opened_at=opened_at, **changes)


async def opens(db: Database, run: str, *waits: Any, sequence: int = 1, **changes: Any) -> None:
    await write_run(db, a_write(sequence, run_id=run, waits=list(waits), **changes), f"execution-{run}")


async def test_the_oldest_gets_the_event_and_waits_for_all_get_it_too(db: Database) -> None:
    await opens(db, "young", one("young", 2000))
    await opens(db, "old", one("old", 1000))
    await opens(db, "all", a_wait("all"))
    await publish(db, "e1")
    await route(db, POLICY)
    assert await deliveries_of(db) == {("e1", "old"): "new", ("e1", "all"): "new"}
    await publish(db, "e2")
    await route(db, POLICY)
    found = await deliveries_of(db)
    assert found["e2", "young"] == "new", "the old one has its event and does not take the next one's place"
    assert ("e2", "old") not in found


async def test_what_a_wait_did_not_take_goes_to_the_next_one_and_to_no_wait_for_all_again(db: Database) -> None:
    await opens(db, "first", one("first"))
    await opens(db, "all", a_wait("all"))
    await publish(db, "e1")
    await route(db, POLICY)
    await opens(db, "second", one("second", 1))
    assert ("e1", "second") not in await deliveries_of(db), "looking back finds it claimed"
    await opens(db, "first", sequence=2, closed=[closed("first", "TIMED_OUT")])
    (event,) = await rows(db, "workflow_runtime_events")
    before = event["processed_at"]
    await opens(db, "late", a_wait("late", look_back_from=int(before.timestamp() * 1000) + 60_000))
    await route(db, POLICY)
    assert await deliveries_of(db) == {("e1", "first"): "late", ("e1", "all"): "new", ("e1", "second"): "new"}
    (event,) = await rows(db, "workflow_runtime_events")
    assert (event["status"], event["processed_at"]) == ("routed", before)


async def test_what_a_wait_did_not_take_since_it_took_another_goes_to_the_next_one(db: Database) -> None:
    await opens(db, "first", one("first"))
    await publish(db, "e1")
    await route(db, POLICY)
    await opens(db, "first", sequence=2, consumed=[consumed("first", "signalled")])
    await opens(db, "next", one("next"))
    await route(db, POLICY)
    assert await deliveries_of(db) == {("e1", "first"): "unknown", ("e1", "next"): "new"}


async def test_an_event_that_is_routed_again_goes_to_no_wait_whose_window_begins_behind_it(db: Database) -> None:
    await opens(db, "first", one("first"))
    await publish(db, "e1")
    await route(db, POLICY)
    (event,) = await rows(db, "workflow_runtime_events")
    await opens(db, "first", sequence=2, closed=[closed("first", "CANCELED")])
    behind = int(event["processed_at"].timestamp() * 1000) + 1000
    await opens(db, "short", one("short", look_back_from=behind))
    await route(db, POLICY)
    assert await deliveries_of(db) == {("e1", "first"): "unknown"}
    await opens(db, "second", one("second"))
    assert await deliveries_of(db) == {("e1", "first"): "unknown", ("e1", "second"): "new"}


async def test_an_event_that_is_routed_again_starts_no_workflow_that_was_published_meanwhile(db: Database) -> None:
    await opens(db, "first", one("first"))
    await publish(db, "e1")
    await route(db, POLICY)
    content = {**document(), "trigger": {"type": "event", "eventName": "PAID"}}
    async with db.tenant(TENANT) as conn:
        draft = await save_draft(conn, workflow_id="late", key="late", name="Late", document=content)
        await publish_version(conn, draft.workflow_id, draft.draft_definition)
    await opens(db, "first", sequence=2, closed=[closed("first", "CANCELED")])
    await route(db, POLICY)
    assert await deliveries_of(db) == {("e1", "first"): "unknown"}
    await publish(db, "e2")
    await route(db, POLICY)
    assert ("e2", "late") in await deliveries_of(db)


async def test_a_wait_for_all_that_opens_between_release_and_routing_finds_the_event(db: Database) -> None:
    await opens(db, "first", one("first"))
    await publish(db, "e1")
    await route(db, POLICY)
    await opens(db, "first", sequence=2, closed=[closed("first", "CANCELED")])
    await opens(db, "all", a_wait("all"))
    await route(db, POLICY)
    assert await deliveries_of(db) == {("e1", "first"): "unknown", ("e1", "all"): "new"}


async def test_looking_back_claims_one_event_each(db: Database) -> None:
    for number in range(3):
        await publish(db, f"e{number}")
    await route(db, POLICY)
    await opens(db, "a", one("a1"), one("a2"))
    await opens(db, "b", one("b"), one("b2"))
    assert sorted(event for event, _ in await deliveries_of(db)) == ["e0", "e1", "e2"]
    assert len({target for _, target in await deliveries_of(db)}) == 3


async def test_a_consumed_event_stays_claimed(db: Database) -> None:
    await opens(db, "first", one("first"))
    await publish(db, "e1")
    await route(db, POLICY)
    await opens(db, "first", sequence=2, consumed=[consumed("first", "e1")])
    await opens(db, "second", one("second"))
    await route(db, POLICY)
    assert await deliveries_of(db) == {("e1", "first"): "consumed"}


@pytest.mark.parametrize("known", [True, False])
async def test_a_run_that_ended_without_telling_releases_its_claim_unless_nobody_knows(
    db: Database, *, known: bool
) -> None:
    await opens(db, "gone", one("gone"))
    await publish(db, "e1")
    await route(db, POLICY)
    await opens(db, "next", one("next"))
    failure = Failure(ErrorCategory.CANCELLATION, "terminated")
    ended = await end_run(
        *(db, TENANT, "gone", "FAILED", failure), execution="execution-gone", consumed=[] if known else None
    )
    assert ended
    await route(db, POLICY)
    found = await deliveries_of(db)
    (row,) = [row for row in await rows(db, "workflow_event_deliveries") if row["target_id"] == "gone"]
    assert (row["status"], row["reason"].startswith("outcome unknown")) == ("undeliverable", not known)
    assert (("e1", "next") in found) is known
    if not known:
        async with db.tenant(TENANT) as conn:
            assert await requeue_event(conn, TENANT, "e1") == {"event": False, "deliveries": 0, "claims": 1}
        await route(db, POLICY)
        assert (await deliveries_of(db))["e1", "next"] == "new"


async def test_an_operator_frees_no_claim_whose_outcome_is_known(db: Database) -> None:
    await opens(db, "first", one("first"))
    await publish(db, "e1")
    await route(db, POLICY)
    await opens(db, "first", sequence=2, consumed=[consumed("first", "e1")])
    await opens(db, "next", one("next"))
    with pytest.raises(Refused) as refused:
        async with db.tenant(TENANT) as conn:
            await requeue_event(conn, TENANT, "e1")
    assert refused.value.code == "EVENT_NOT_DEAD"
    # Nor beside something else of the event that is dead.
    async with db.tenant(TENANT) as conn:
        await add_deliveries(conn, TENANT, [new_delivery("e1", "wait", "other", "other", "key-1")])
        await conn.execute(text("UPDATE workflow_event_deliveries SET status = 'dead' WHERE target_id = 'other'"))
    async with db.tenant(TENANT) as conn:
        assert await requeue_event(conn, TENANT, "e1") == {"event": False, "deliveries": 1, "claims": 0}
    await route(db, POLICY)
    assert ("e1", "next") not in await deliveries_of(db)


async def test_what_a_closed_run_took_counts(db: Database) -> None:
    await opens(db, "gone", one("gone"))
    await publish(db, "e1")
    await route(db, POLICY)
    took = consumed("gone", "e1")
    failure = Failure(ErrorCategory.CANCELLATION, "terminated")
    await end_run(db, TENANT, "gone", "FAILED", failure, execution="execution-gone", consumed=[dict(took)])
    assert await deliveries_of(db) == {("e1", "gone"): "consumed"}


async def test_ten_runs_and_ten_events_are_ten_pairs(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        waiting = wait("PAID", "'same'")
        waiting["config"]["match"] = "one"
        runs = [await authored.start(document(waiting)) for _ in range(10)]
        await asyncio.gather(*(publish(db, f"pair-{number}", "same", payload={"n": number}) for number in range(10)))
        results = await asyncio.gather(*(run.handle.result() for run in runs))
    assert sorted(result["scopes"]["vars"]["event"]["n"] for result in results) == list(range(10))


async def test_routers_of_several_processes_and_waits_that_close_and_open_meanwhile_give_each_event_to_one_wait(
    db: Database,
) -> None:
    chance = random.Random(11)  # noqa: S311 - an order, no secret
    events = [f"e{number}" for number in range(16)]

    async def router() -> None:
        for _ in range(20):
            await route_pending(db, POLICY)

    async def closes(run: str) -> None:
        await asyncio.sleep(chance.random() / 4)
        await opens(db, run, sequence=2, closed=[closed(f"wait-of-{run}", "TIMED_OUT")])

    async def comes(run: str) -> None:
        await asyncio.sleep(chance.random() / 4)
        await opens(db, run, one(f"wait-of-{run}", 1_000))

    for event_id in events:
        await publish(db, event_id)
    early = [f"early-{number}" for number in range(16)]
    for run in early:
        await opens(db, run, one(f"wait-of-{run}"))
    parties = [router() for _ in range(4)]
    parties += [closes(run) for run in early[::2]]
    parties += [comes(f"late-{number}") for number in range(16)]
    chance.shuffle(parties)
    await asyncio.gather(*parties)
    await route(db, POLICY)
    found = await deliveries_of(db)
    on_their_way = {event: wait_id for (event, wait_id), status in found.items() if status == "new"}
    assert sorted(event for event, wait_id in found if found[event, wait_id] == "new") == sorted(events)
    assert len(set(on_their_way.values())) == len(events), "a wait takes one"
    assert {row["event_id"]: row["wait_id"] for row in await rows(db, "workflow_event_claims")} == on_their_way
    assert set(found.values()) <= {"new", "late"}


async def test_lookback_ms_is_counted_on_the_clock_that_events_are_routed_by(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two servers' clocks are one here: the database says that its own is an hour ahead."""
    ahead = text("SELECT extract(epoch FROM clock_timestamp() + interval '1 hour') * 1000")
    monkeypatch.setattr("workflows_core.storage.run_writes._NOW", ahead)
    back = wait("PAID", "'k'")
    back["config"]["lookbackMs"] = 600_000
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(back))
        await run.until("WAITING")
        (row,) = await rows(db, "workflow_run_waits")
        await run.handle.cancel()
        await run.until("CANCELED")
    assert round((row["look_back_from"] - row["created_at"]) / timedelta(minutes=10)) == 5


async def test_lookback_ms_takes_the_place_of_the_runs_start(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        await publish(db, "before", "k")
        while [row["status"] for row in await rows(db, "workflow_runtime_events")] != ["routed"]:
            await asyncio.sleep(0.02)
        plain, wide = wait("PAID", "'k'"), wait("PAID", "'k'")
        wide["config"]["lookbackMs"] = 3_600_000
        resumed = await authored.start(document(wide))
        await resumed.handle.result()
        waiting = await authored.start(document(plain))
        await waiting.until("WAITING")
        await waiting.handle.cancel()
        await waiting.until("CANCELED")
