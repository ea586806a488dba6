"""Events that are replayed or requeued by an operator: nothing twice unnoticed, nothing left out unsaid."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from harness.databases import MigratedDatabase
from harness.ingress import route
from harness.interpreted import document, wait
from harness.operator import command, refused, workflows
from harness.run_records import EXECUTION, TENANT, a_wait, a_write, deliveries_of, publish, rows
from workflows_core.errors import Refused
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.ingress.router import run_id_of_start
from workflows_core.ingress.sender import Sender
from workflows_core.launching.events import events_to_replay, replay_event, requeue_event
from workflows_core.launching.launcher import Launcher
from workflows_core.publishing.contracts import import_events, import_schemas
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version, save_draft, set_operation
from workflows_core.storage.run_writes import write_run

pytestmark = pytest.mark.asyncio(loop_scope="session")
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
NEVER = 4_000_000_000_000


@pytest.fixture
def environment(database: MigratedDatabase) -> dict[str, str]:
    """An installation without any process; what is asked here needs no Temporal."""
    return {**database.environment, "TEMPORAL_ADDRESS": "127.0.0.1:1", "WORKFLOWS_TENANT": TENANT}


async def replays(db: Database) -> dict[str, list[str]]:
    """What was replayed, and as which events, in the order of publishing."""
    found: dict[str, list[str]] = {}
    for row in await rows(db, "workflow_runtime_events", order="created_at"):
        if row["replay_of"] is not None:
            found.setdefault(row["replay_of"], []).append(row["event_id"])
    return found


async def test_a_window_that_is_replayed_a_second_time_repeats_nothing(
    environment: dict[str, str], db: Database
) -> None:
    """It repeated the events, and its own replays of them too."""
    for event_id in ("e1", "e2"):
        await publish(db, event_id)
    await route(db)
    window = ("events", "replay", "--from", "2026-01-01")
    first = await workflows(environment, *window)
    assert [(row["eventId"], row["replayedBefore"]) for row in first] == [("e1", []), ("e2", [])]
    new_ids = {row["eventId"]: [row["newEventId"]] for row in first}
    assert await replays(db) == new_ids
    await publish(db, "e3")
    await route(db)
    for options, made in ((("--dry-run",), False), ((), True)):
        code, output, error = await command(environment, *window, *options, "--format", "json")
        said = {row["eventId"]: row for row in json.loads(output)}
        assert (code, list(said)) == (0, ["e3", "e1", "e2"])
        assert {name: said[name]["replayedBefore"] for name in new_ids} == new_ids
        assert "2 of them were replayed before and are left out; --again repeats them" in error
        assert said["e1"]["newEventId" if made else "wouldReach"] is None
        assert (said["e3"]["newEventId"] if made else said["e3"]["wouldReach"]) or not made
    assert {name: len(made) for name, made in (await replays(db)).items()} == {"e1": 1, "e2": 1, "e3": 1}
    await route(db)
    again = await workflows(environment, *window, "--again")
    await route(db)
    assert [(row["eventId"], len(row["replayedBefore"])) for row in again] == [("e1", 1), ("e2", 1), ("e3", 1)]
    assert {len(made) for made in (await replays(db)).values()} == {2}
    assert len(await workflows(environment, *window, "--again", "--with-replays", "--dry-run")) == 9


async def test_one_event_is_replayed_a_second_time_only_when_that_is_asked_for(
    environment: dict[str, str], db: Database
) -> None:
    await publish(db, "e1")
    await route(db)
    (made,) = await workflows(environment, "events", "replay", "e1")
    message = await refused(environment, "events", "replay", "e1")
    assert f"EVENT_REPLAYED at eventId: event 'e1' was replayed before, as {made['newEventId']}" in message
    (told,) = await workflows(environment, "events", "replay", "e1", "--dry-run")
    assert told["replayedBefore"] == [made["newEventId"]]
    await route(db)
    await workflows(environment, "events", "replay", made["newEventId"])
    (again,) = await workflows(environment, "events", "replay", "e1", "--again")
    assert await replays(db) == {
        "e1": [made["newEventId"], again["newEventId"]],
        made["newEventId"]: [*(await replays(db))[made["newEventId"]]],
    }


async def test_a_window_with_more_events_than_the_limit_says_so_and_the_same_command_goes_on(
    environment: dict[str, str], db: Database
) -> None:
    """It took the first of them, and looked done."""
    for number in range(5):
        await publish(db, f"e{number}")
    await route(db)
    window = ("events", "replay", "--from", "2026-01-01", "--limit", "2", "--format", "json")
    code, output, error = await command(environment, *window, "--dry-run")
    assert (code, len(json.loads(output))) == (1, 2)
    assert "there are more than these 2: raise --limit" in error
    for before, expected in ((0, 1), (2, 1), (4, 0)):
        code, output, error = await command(environment, *window)
        assert (code, len(json.loads(output))) == (expected, min(before + 2, 5))
        assert ("there are more than these 2: the same command goes on with them" in error) == bool(expected)
    assert {name: len(made) for name, made in (await replays(db)).items()} == {f"e{number}": 1 for number in range(5)}


async def test_what_is_still_to_be_routed_is_not_replayed_beside_that(
    environment: dict[str, str], db: Database, client: Client
) -> None:
    """Such as behind an outage of all routers: each event started its workflow twice."""
    await workflow(db, "fine")
    await publish(db, "routed", event_name="OTHER")
    await route(db)
    for event_id in ("e1", "e2"):
        await publish(db, event_id, event_name="ORDERED")
    for options in ((), ("--dry-run",), ("--again",)):
        message = await refused(environment, "events", "replay", "e1", *options)
        assert "EVENT_PENDING at eventId: event 'e1' is still to be routed" in message
    window = ("events", "replay", "--from", "2026-01-01", "--format", "json")
    for options in (("--dry-run",), ()):
        code, output, error = await command(environment, *window, *options)
        assert (code, [row["eventId"] for row in json.loads(output)]) == (0, ["routed"])
        assert "2 others are still to be routed and are left out" in error
    _, output, error = await command(environment, *window, "--name", "OTHER")
    assert "still to be routed" not in error
    await settle(db, client)
    assert len(await rows(db, "workflow_runs")) == 2
    _, output, error = await command(environment, *window)
    assert "still to be routed" not in error
    await settle(db, client)
    assert len(await rows(db, "workflow_runs")) == 4, "now they are repeated, which was asked for"


async def test_two_who_replay_a_window_at_the_same_time_replay_it_once(db: Database) -> None:
    for number in range(20):
        await publish(db, f"e{number}")
    await route(db)

    async def replay() -> None:
        async with db.tenant(TENANT) as conn:
            for event in (await events_to_replay(conn, None, None, LONG_AGO, None, 100)).events:
                await replay_event(conn, TENANT, event)

    await asyncio.gather(*(replay() for _ in range(3)))
    assert [len(made) for made in (await replays(db)).values()] == [1] * 20


async def test_times_are_taken_as_answers_have_them(environment: dict[str, str], db: Database) -> None:
    await publish(db, "e1")
    await route(db)
    (event,) = await workflows(environment, "events", "list")
    at = datetime.fromisoformat(event["createdAt"])
    after = (at + timedelta(microseconds=1)).astimezone(UTC)
    forms = [after.isoformat(), after.isoformat().replace("+00:00", "Z"), after.replace(tzinfo=None).isoformat()]
    forms.append(after.astimezone(tz=datetime.strptime("+0530", "%z").tzinfo).isoformat())
    for until in forms:
        window = ("events", "replay", "--from", event["createdAt"], "--until", until, "--dry-run")
        assert [row["eventId"] for row in await workflows(environment, *window)] == ["e1"], until
        assert await workflows(environment, "events", "replay", "--from", until, "--dry-run") == [], until
    for wrong in ("2026-11-30 01:00:00", "yesterday", "0001-01-01T00:00:00+14:00", "2026-13-01"):
        message = await refused(environment, "events", "replay", "--from", wrong, code=2)
        assert "is no date or time such as 2026-11-30 or 2026-11-30T01:00:00Z" in message, wrong
    backfill = ("schedules", "backfill", "x", "--from", "2020-01-01T00:00:00Z", "--until")
    assert "UNREACHABLE" in await refused(environment, *backfill, "2020-01-01T02:00:00+02:00"), "it was taken"
    assert "must not be before --from" in await refused(environment, *backfill, "2020-01-01T01:00:00+02:00")


async def workflow(db: Database, key: str, *, paused: bool = False, limit: int | None = None, **fields: Any) -> None:
    """Publishes a workflow that ORDERED starts; its key is `the-` and its id."""
    trigger = {"type": "event", "eventName": "ORDERED", **fields.pop("trigger", {})}
    content = {**document(wait()), "id": key, "trigger": trigger, **fields.pop("content", {})}
    async with db.tenant(TENANT) as conn:
        await save_draft(conn, workflow_id=key, key=f"the-{key}", name=key, document=content)
        await publish_version(conn, key, content, **fields)
        await set_operation(conn, key, is_paused=paused, concurrency_limit=limit)


async def settle(db: Database, client: Client) -> None:
    """Routes and sends all that is due."""
    await route(db)
    sender = Sender(db, Launcher(db, client), JlensEngine(), IngressPolicy())
    while await sender.send_ready():
        pass


TOO_LONG = "x" * 90
"""With the long key and name beside it, an id to which nothing can be appended."""
STRICT = {"type": "object", "required": ["id"]}
FILTER = [{"path": "amount", "op": ">", "value": 9}]
NUMBER = {"payloadMapping": {"n": {"$expr": "$number(event.payload.text)"}}}


async def test_a_dry_run_says_of_each_target_what_then_becomes_of_it(
    environment: dict[str, str], db: Database, client: Client
) -> None:
    """It named all of the right name, paused ones too, and stopped at 50."""
    await workflow(db, "fine")
    await workflow(db, "paused", paused=True)
    await workflow(db, "strict", payload_schema=STRICT)
    await workflow(db, "mapped", trigger=NUMBER)
    await workflow(db, "full", limit=1)
    await workflow(db, "queueing", limit=1, content={"onConcurrencyLimit": "wait"})
    async with db.tenant(TENANT) as conn:
        await import_schemas(conn, {"payload.Ordered.v1": {"type": "object"}, "payload.Other.v1": STRICT})
        await import_events(conn, {"ORDERED": {"payloadSchemaRef": "payload.Ordered.v1"}})
    await publish(db, "text", "key-1", event_name="ORDERED", payload={"text": "x"})
    await publish(db, "whole", "key-1", event_name="ORDERED", payload={"text": "7", "id": "k", "amount": 10})
    await publish(db, "wrong", "key-1", event_name="ORDERED", payload=[1])
    await publish(db, "other", "key-1", event_name="ORDERED", payload_schema_ref="payload.Other.v1")
    await publish(db, "long", None, event_name="ORDERED", payload={"ticketId": "k" * 4000})
    await publish(db, TOO_LONG, "k" * 2040, event_name="ORDERED" + "D" * 400)
    await settle(db, client)
    said: dict[str, Any] = {}
    waits = [a_wait(f"w{number}", event_name="ORDERED", look_back_from=NEVER) for number in range(60)]
    waits.append(a_wait("filtered", event_name="ORDERED", look_back_from=NEVER, filters=FILTER))
    waits += [a_wait(f"one{n}", event_name="ORDERED", look_back_from=NEVER, match="one") for n in range(3)]
    for number, opened in enumerate(waits):
        await write_run(db, a_write(1, run_id=f"r{number}", waits=[opened]), f"x{number}")

    for event_id in ("text", "whole", "wrong", "other", "long", TOO_LONG):
        (told,) = await workflows(environment, "events", "replay", event_id, "--dry-run")
        before = {row["delivery_id"] for row in await rows(db, "workflow_event_deliveries")}
        code, output, _ = await command(environment, "events", "replay", event_id, "--format", "json")
        assert code == int(event_id == TOO_LONG), output
        await settle(db, client)
        made = [row for row in await rows(db, "workflow_event_deliveries") if row["delivery_id"] not in before]
        reached = [f"{row['target_kind']} {row['target_id']}" for row in made if row["status"] != "undeliverable"]
        assert sorted(told["wouldReach"]) == sorted(reached), event_id
        missed = [f"start {row['target_id']}: undeliverable, {row['reason']}" for row in made if row["reason"]]
        assert sorted(one for one in told["wouldNotReach"] if one.startswith("start ")) == sorted(missed), event_id
        fault = [one for one in told["wouldNotReach"] if one.startswith("event ")]
        if not reached:
            repeats = [row for row in await rows(db, "workflow_runtime_events") if row["replay_of"] == event_id]
            dead = [f"event {event_id}: dead, {row['error_message']}" for row in repeats]
            refusal = "" if dead else json.loads(output)["problems"][0]["message"]
            assert fault == dead or (len(fault) == 1 and fault[0].endswith(refusal)), event_id
        said[event_id] = told
    assert len(said["text"]["wouldReach"]) == 60 + 1 + 2, "all waits, one of those for one, two workflows"
    others = [one for one in said["text"]["wouldNotReach"] if one.startswith("wait one")]
    assert others == [f"wait one{n}: no match, only one wait gets it (match: one), and that is one0" for n in (1, 2)]
    assert "wait filtered" in said["whole"]["wouldReach"]
    assert (
        "wait w7: no match, another event is on its way to the wait, which takes one"
        in (said["whole"]["wouldNotReach"])
    )


async def test_a_dry_run_of_a_window_counts_what_its_earlier_events_take(
    environment: dict[str, str], db: Database, client: Client
) -> None:
    """Each event was held against the waits and limits of now: all of them went to the same wait."""
    await workflow(db, "full", limit=2)
    await workflow(db, "queueing", limit=1, content={"onConcurrencyLimit": "wait"})
    await workflow(db, "free")
    for number in range(4):
        await publish(db, f"e{number}", "key-1", event_name="ORDERED")
    await settle(db, client)
    async with db.tenant(TENANT) as conn:
        await conn.execute(text("UPDATE workflow_runs SET status = 'SUCCEEDED', completed_at = now()"))
    waits = [a_wait(f"one{n}", event_name="ORDERED", look_back_from=NEVER, match="one") for n in range(2)]
    waits.append(a_wait("all", event_name="ORDERED", look_back_from=NEVER))
    waits.append(a_wait("other", event_name="ORDERED", look_back_from=NEVER, key="key-2"))
    for number, opened in enumerate(waits):
        await write_run(db, a_write(1, run_id=f"r{number}", waits=[opened]), f"x{number}")

    window = ("events", "replay", "--from", "2026-01-01T00:00:00Z")
    told = {row["eventId"]: row for row in await workflows(environment, *window, "--dry-run")}
    made = {row["newEventId"]: row["eventId"] for row in await workflows(environment, *window)}
    await settle(db, client)
    became: dict[str, list[str]] = {event_id: [] for event_id in told}
    for row in await rows(db, "workflow_event_deliveries"):
        if row["event_id"] in made and row["status"] != "undeliverable":
            became[made[row["event_id"]]].append(f"{row['target_kind']} {row['target_id']}")
    told_of = {event_id: list(row["wouldReach"]) for event_id, row in told.items()}
    # Starts are sent side by side: how many of them find room is told, and not which.
    found_room = [sum("start full" in targets for targets in each.values()) for each in (told_of, became)]
    assert found_room == [2, 2]
    for event_id, targets in told_of.items():
        assert {*targets} - {"start full"} == {*became[event_id]} - {"start full"}, event_id
    assert [{one for one in row["wouldReach"] if one.startswith("wait")} for row in told.values()] == [
        {"wait one0", "wait all"},
        {"wait one1"},
        set(),
        set(),
    ]


async def test_a_list_has_the_reason_of_what_is_dead(environment: dict[str, str], db: Database) -> None:
    async with db.tenant(TENANT) as conn:
        await import_schemas(conn, {"payload.Ordered.v1": STRICT})
        await import_events(conn, {"ORDERED": {"payloadSchemaRef": "payload.Ordered.v1"}})
    await publish(db, "o1", event_name="ORDERED")
    await route(db)
    _, listed, _ = await command(environment, "events", "list")
    header, line = listed.splitlines()
    assert header.endswith("REASON")
    assert line.endswith("the payload does not keep to payload.Ordered.v1: payload/id is required")


async def test_the_command_publishes_a_whole_envelope(environment: dict[str, str], db: Database) -> None:
    """It left out the publisher's own time."""
    async with db.tenant(TENANT) as conn:
        await import_schemas(conn, {"payload.Paid.v1": {"type": "object"}})
    envelope = ("--key", "k1", "--payload", '{"amount": 7}', "--event-id", "e1", "--schema", "payload.Paid.v1")
    await workflows(environment, "events", "publish", "PAID", *envelope, "--at", "2026-01-02T03:04:05")
    (row,) = await rows(db, "workflow_runtime_events")
    told = ("tenant", "event_id", "event_name", "correlation_key", "payload", "payload_schema_ref", "occurred_at")
    assert tuple(row[name] for name in told) == (
        *(TENANT, "e1", "PAID", "k1", {"amount": 7}, "payload.Paid.v1"),
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )


@pytest.mark.parametrize(("tenant", "name"), [("no-such-tenant", "PAID"), (TENANT, "NO_SUCH_NAME")])
async def test_an_event_for_a_tenant_or_of_a_name_that_there_is_not_is_listed_and_counted_as_unmatched(
    environment: dict[str, str], db: Database, tenant: str, name: str
) -> None:
    """It was one of all those that were routed, and had to be looked for among them."""
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    for_nobody = ("events", "publish", name, "--key", "k1", "--event-id", "astray", "--tenant", tenant)
    assert (await workflows(environment, *for_nobody))["published"]
    await publish(db, "behind")
    await route(db)
    assert await deliveries_of(db) == {("behind", "wait-1"): "new"}, "it holds nothing up"
    (listed,) = await workflows(environment, "events", "list", "--status", "unmatched", "--tenant", tenant)
    assert (listed["eventId"], listed["status"], listed["deliveries"]) == ("astray", "routed", [])
    counted = await workflows(environment, "events", "count", "--name", name, "--tenant", tenant)
    assert {one["verdict"]: one["events"] for one in counted} == {"routed": 1, "unmatched": 1}
    _, text_of_list, _ = await command(environment, "events", "list", "--name", name, "--tenant", tenant)
    assert text_of_list.splitlines()[1].endswith("unmatched: `workflows events show` says who it could have concerned")
    shown = await workflows(environment, "events", "show", "astray", "--tenant", tenant)
    assert f"no wait for '{name}' was open and no workflow is started by it" in shown["notes"]


async def test_an_event_that_cannot_be_replayed_stops_none_of_its_window(
    environment: dict[str, str], db: Database
) -> None:
    await publish(db, "e1")
    await publish(db, TOO_LONG, "k" * 2040, event_name="ORDERED" + "D" * 400)
    await publish(db, "e2")
    await route(db)
    window = ("events", "replay", "--from", "2026-01-01", "--format", "json")
    code, output, error = await command(environment, *window)
    assert (code, "1 of them could not be replayed" in error) == (1, True)
    assert [row["why"] is None for row in json.loads(output)] == [True, False, True]
    assert sorted(await replays(db)) == ["e1", "e2"]


async def test_the_start_that_a_pause_prevented_is_repaired_by_itself(
    environment: dict[str, str], db: Database, client: Client
) -> None:
    """Only a replay was left, which started the other workflow a second time."""
    await workflow(db, "fine")
    await workflow(db, "paused", paused=True)
    await publish(db, "o1", event_name="ORDERED")
    await settle(db, client)
    missed = {("o1", "fine"): "consumed", ("o1", "paused"): "undeliverable"}
    assert await deliveries_of(db) == missed
    message = await refused(environment, "events", "requeue", "o1")
    _, listed, _ = await command(environment, "events", "list")
    assert f"run {run_id_of_start(TENANT, 'o1', 'fine')} consumed, start of the-paused undeliverable" in listed
    assert "workflow 'the-paused' is paused: resume it first" in listed.splitlines()[1]
    assert run_id_of_start(TENANT, "o1", "paused") not in listed, "there is no such run"
    _, shown, _ = await command(environment, "events", "show", "o1")
    starts = {" ".join(line.split()) for line in shown.splitlines() if line.startswith("start")}
    assert f"start the-fine, as run {run_id_of_start(TENANT, 'o1', 'fine')} consumed -" in starts
    assert any(one.startswith("start the-paused undeliverable ") for one in starts), "it had its id"
    assert "EVENT_NOT_DEAD at eventId: nothing about event 'o1' is dead; the start of the-paused by it" in message
    again = ("events", "requeue", "o1", "--to", "the-paused")
    await workflows(environment, *again)
    assert (await deliveries_of(db))["o1", "paused"] == "new"
    await settle(db, client)
    assert await deliveries_of(db) == missed, "it is paused still"

    async with db.tenant(TENANT) as conn:
        await set_operation(conn, "paused", is_paused=False, concurrency_limit=None)
    assert await workflows(environment, *again) == {"eventId": "o1", "event": False, "deliveries": 1, "claims": 0}
    stale = Sender(db, Launcher(db, client), JlensEngine(), IngressPolicy(lease_seconds=0.0))
    await asyncio.gather(stale.send_ready(), stale.send_ready(), stale.send_ready())
    await settle(db, client)
    assert await deliveries_of(db) == {("o1", "fine"): "consumed", ("o1", "paused"): "consumed"}
    expected = sorted(run_id_of_start(TENANT, "o1", name) for name in ("fine", "paused"))
    assert sorted(row["run_id"] for row in await rows(db, "workflow_runs")) == expected
    for name in ("the-fine", "the-paused"):
        message = await refused(environment, "events", "requeue", "o1", "--to", name)
        assert f"EVENT_NOT_DEAD at eventId: the start of '{name}' by event 'o1' is consumed" in message
    await workflow(db, "later")
    assert "is none of its deliveries" in await refused(environment, "events", "requeue", "o1", "--to", "the-later")
    assert "EVENT_NOT_FOUND" in await refused(environment, "events", "requeue", "o2", "--to", "fine")
    assert "WORKFLOW_UNKNOWN" in await refused(environment, "events", "requeue", "o1", "--to", "nowhere")


async def test_a_start_is_requeued_without_what_else_is_undeliverable(db: Database) -> None:
    """What a wait's run did not take has its verdict for good."""
    await workflow(db, "w")
    await write_run(db, a_write(1, waits=[a_wait(event_name="ORDERED")]), EXECUTION)
    for event_id in ("o1", "o2"):
        await publish(db, event_id, event_name="ORDERED")
    await route(db)
    async with db.tenant(TENANT) as conn:
        await conn.execute(text("UPDATE workflow_event_deliveries SET status = 'undeliverable', reason = 'r'"))
        assert (await requeue_event(conn, TENANT, "o1", "the-w"))["deliveries"] == 1
    assert await deliveries_of(db) == {
        ("o1", "wait-1"): "undeliverable",
        ("o1", "w"): "new",
        ("o2", "w"): "undeliverable",
    }


@pytest.mark.parametrize("status", ["new", "consumed"])
async def test_a_start_that_is_under_way_or_done_is_not_requeued(db: Database, status: str) -> None:
    await workflow(db, "w")
    await publish(db, "o1", event_name="ORDERED")
    await route(db)
    async with db.tenant(TENANT) as conn:
        await conn.execute(text("UPDATE workflow_event_deliveries SET status = :status"), {"status": status})
    with pytest.raises(Refused) as found:
        async with db.tenant(TENANT) as conn:
            await requeue_event(conn, TENANT, "o1", "the-w")
    assert found.value.code == "EVENT_NOT_DEAD"
    assert await deliveries_of(db) == {("o1", "w"): status}
