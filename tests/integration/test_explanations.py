"""Why an event went where it went, requeue and replay, and verdicts on bad events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from harness.databases import MigratedDatabase
from harness.ingress import route
from harness.interpreted import document
from harness.run_records import (
    EXECUTION,
    OPENED,
    RUN,
    TENANT,
    a_wait,
    a_write,
    closed,
    consumed,
    deliveries_of,
    publish,
    rows,
)
from workflows_core.errors import Refused
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.ingress.explaining import explain_event, explain_wait, would_reach
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.launching.events import events_to_replay, publish_checked, replay_event, requeue_event
from workflows_core.publishing.contracts import import_events, import_schemas
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version, save_draft
from workflows_core.storage.events import MAX_DELIVERIES, EventRow, count_events, list_events
from workflows_core.storage.run_writes import write_run

pytestmark = pytest.mark.asyncio(loop_scope="session")
POLICY = IngressPolicy(first_delay_seconds=0.01)
FILTER = [{"path": "amount", "op": ">", "value": 9}]


def soon() -> int:
    """A moment behind every routing of the test, milliseconds since the epoch."""
    return int((datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1000)


async def notes_of(db: Database, event_id: str) -> list[str]:
    async with db.tenant(TENANT) as conn:
        found = await explain_event(conn, event_id)
    assert found is not None
    return list(found.notes)


async def reached(conn: AsyncConnection, event: EventRow) -> list[str]:
    return [one.target_id for one in await would_reach(conn, TENANT, event, JlensEngine()) if one.verdict == "match"]


async def events_of(db: Database, wait_id: str) -> dict[str, tuple[str, str | None]]:
    async with db.tenant(TENANT) as conn:
        found = await explain_wait(conn, wait_id)
    assert found is not None
    return {one["eventId"]: (one["verdict"], one["why"]) for one in found.events}


async def verdicts(db: Database, event_id: str) -> dict[str, tuple[str, str | None]]:
    async with db.tenant(TENANT) as conn:
        found = await explain_event(conn, event_id)
    assert found is not None
    return {one.target_id: (one.verdict, one.why) for one in found.candidates}


async def test_hole_31_each_candidate_has_its_verdict_and_the_comparison_that_failed(db: Database) -> None:
    waits = [a_wait("right"), a_wait("key", "other"), a_wait("filter", filters=FILTER), a_wait("gone")]
    await write_run(db, a_write(1, waits=waits), EXECUTION)
    await write_run(db, a_write(2, waits=waits[:3], closed=[closed("gone", "TIMED_OUT")]), EXECUTION)
    await publish(db, "e1")
    await route(db, POLICY)
    await write_run(db, a_write(1, run_id="r2", waits=[a_wait("narrow", look_back_from=soon())]), "x2")
    found = await verdicts(db, "e1")
    assert found["right"] == ("new", None)
    assert found["key"] == ("no match", "the wait's key is 'other', the event has ['key-1']")
    assert found["filter"] == ("no match", "filter amount > 9 does not hold: the event has 5")
    assert "looks back to" in str(found["narrow"][1])
    assert "gone" not in found, "closed before the event came"


async def test_a_wait_shows_near_misses_and_what_it_got(db: Database) -> None:
    await publish(db, "early", "other")
    await route(db, POLICY)
    await write_run(db, a_write(1, waits=[a_wait("w", filters=FILTER)]), EXECUTION)
    await publish(db, "small", payload={"amount": 3})
    await publish(db, "big", payload={"amount": 30})
    await publish(db, "pending", payload={"amount": 30}, event_name="PAID")
    async with db.tenant(TENANT) as conn:
        before = await explain_wait(conn, "w")
    assert before is not None
    assert {one["verdict"] for one in before.events if one["eventId"] != "early"} == {"pending"}
    await route(db, POLICY)
    async with db.tenant(TENANT) as conn:
        found = await explain_wait(conn, "w")
        assert await explain_wait(conn, "nothing") is None
        assert await explain_event(conn, "nothing") is None
    assert found is not None
    said = {one["eventId"]: (one["verdict"], one["why"]) for one in found.events}
    assert said["early"] == ("no match", "the wait's key is 'key-1', the event has ['other']")
    assert said["small"] == ("no match", "filter amount > 9 does not hold: the event has 3")
    assert said["big"] == ("new", None)


async def test_an_event_for_one_wait_only_names_the_wait_that_has_it(db: Database) -> None:
    await write_run(db, a_write(1, run_id="r1", waits=[a_wait("first", match="one")]), "x1")
    await write_run(db, a_write(1, run_id="r2", waits=[a_wait("second", match="one", opened_at=OPENED + 1)]), "x2")
    await publish(db, "e1")
    await route(db, POLICY)
    claimed = ("no match", "only one wait gets it (match: one), and that is first")
    assert await verdicts(db, "e1") == {"first": ("new", None), "second": claimed}
    assert (await events_of(db, "second"))["e1"] == claimed
    # Neither takes it: it is released, and nobody is left.
    for sequence, (run_id, wait_id) in enumerate((("r2", "second"), ("r1", "first")), start=2):
        gone = [{**closed(wait_id, "TIMED_OUT"), "at": soon()}]
        await write_run(db, a_write(sequence, run_id=run_id, waits=[], closed=gone), f"x{run_id[1]}")
    await route(db, POLICY)
    # It was open, and nothing was on its way to it: it closed while the other one had the event.
    given_back = "had another event on its way, or had closed before a wait that got this one gave it back"
    not_open = f"the wait was not open when the event was routed, {given_back}: it is TIMED_OUT now"
    assert (await verdicts(db, "e1"))["second"] == ("no match", not_open)
    assert (await events_of(db, "second"))["e1"] == ("no match", f"the wait was not open then, {given_back}")


async def test_a_run_takes_an_event_once_and_its_later_wait_says_with_which(db: Database) -> None:
    await write_run(db, a_write(1, waits=[a_wait("first")]), EXECUTION)
    await publish(db, "e1")
    await route(db, POLICY)
    taken = [{**consumed("first", "e1"), "at": soon()}]
    await write_run(db, a_write(2, waits=[a_wait("second")], consumed=taken), EXECUTION)
    again = ("no match", "the run took this event with an earlier wait, first")
    assert await verdicts(db, "e1") == {"first": ("consumed", None), "second": again}
    assert await events_of(db, "first") == {"e1": ("consumed", None)}
    assert await events_of(db, "second") == {"e1": again}


async def test_a_wait_that_took_another_event_names_it(db: Database) -> None:
    await write_run(db, a_write(1, waits=[a_wait("w")]), EXECUTION)
    for event_id in ("e1", "e2"):
        await publish(db, event_id)
    assert (await verdicts(db, "e2"))["w"] == ("no match", "would match: the event is not routed yet")
    await route(db, POLICY)
    await write_run(db, a_write(2, waits=[], consumed=[{**consumed("w", "e1"), "at": soon()}]), EXECUTION)
    assert await verdicts(db, "e1") == {"w": ("consumed", None)}
    assert await verdicts(db, "e2") == {"w": ("no match", "the wait took event e1")}


async def test_an_event_that_concerns_nobody_says_so_and_a_dead_one_says_why_first(db: Database) -> None:
    nobody = "no wait for 'PAID' was open and no workflow is started by it"
    await publish(db, "fine")
    await route(db, POLICY)
    assert await notes_of(db, "fine") == [nobody]
    async with db.tenant(TENANT) as conn:
        await import_schemas(conn, {"payload.Paid.v1": {"type": "object", "required": ["currency"]}})
        await import_events(conn, {"PAID": {"payloadSchemaRef": "payload.Paid.v1"}})
    await publish(db, "bad")
    await route(db, POLICY)
    reason, *others = await notes_of(db, "bad")
    not_routed = "it is dead, not routed: no wait and no workflow has got it"
    assert ("does not keep to payload.Paid.v1" in reason, others) == (True, [not_routed])
    content = {**document(), "trigger": {"type": "event", "eventName": "PAID"}}
    async with db.tenant(TENANT) as conn:
        await save_draft(conn, workflow_id="w", key="by-paid", name="W", document=content)
        await publish_version(conn, "w", content)
    assert (await notes_of(db, "bad"))[1:] == [not_routed]
    assert (await verdicts(db, "bad"))["w"] == (
        "no match",
        "would start workflow 'by-paid': the event is not routed yet",
    )


async def test_a_candidate_as_json_has_the_names_that_people_filter_by(db: Database) -> None:
    await write_run(db, a_write(1, waits=[a_wait("w", filters=FILTER)]), EXECUTION)
    await publish(db, "e1")
    await route(db, POLICY)
    async with db.tenant(TENANT) as conn:
        found = await explain_event(conn, "e1")
    assert found is not None
    assert [one.to_json() for one in found.candidates] == [
        {
            "kind": "wait",
            "targetId": "w",
            "runId": RUN,
            "verdict": "no match",
            "why": "filter amount > 9 does not hold: the event has 5",
            "workflowKey": None,
        }
    ]


async def test_triggers_and_notes(db: Database) -> None:
    content = {**document(), "trigger": {"type": "event", "eventName": "ORDERED"}}
    async with db.tenant(TENANT) as conn:
        await save_draft(conn, workflow_id="w", key="w", name="W", document=content)
        await publish_version(conn, "w", content)
        await import_events(conn, {"KNOWN": {}})
    await publish(db, "o1", None, event_name="ORDERED")
    await route(db, POLICY)
    async with db.tenant(TENANT) as conn:
        found = await explain_event(conn, "o1")
    assert found is not None
    assert [(one.kind, one.target_id, one.verdict) for one in found.candidates] == [("start", "w", "new")]
    assert len(found.notes) == 2, found.notes
    assert "no correlation key" in found.notes[0]
    assert "not in the tenant's event catalogue" in found.notes[1]


async def test_hole_30_a_payload_that_breaks_its_schema_is_refused_or_dead_and_goes_again_once_the_schema_is_right(
    db: Database,
) -> None:
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    async with db.tenant(TENANT) as conn:
        await import_schemas(conn, {"payload.Paid.v1": {"type": "object", "required": ["currency"]}})
        await import_events(conn, {"PAID": {"payloadSchemaRef": "payload.Paid.v1"}})
        with pytest.raises(Refused, match="EVENT_PAYLOAD_INVALID"):
            await publish_checked(conn, tenant=TENANT, event_id="e0", event_name="PAID", payload={})
    await publish(db, "e1")
    await route(db, POLICY)
    (row,) = await rows(db, "workflow_runtime_events")
    assert (row["status"], "payload.Paid.v1" in row["error_message"]) == ("dead", True)
    async with db.tenant(TENANT) as conn:
        await import_schemas(conn, {"payload.Paid.v1": {"type": "object"}})
        assert (await requeue_event(conn, TENANT, "e1"))["event"]
    await route(db, POLICY)
    assert await deliveries_of(db) == {("e1", "wait-1"): "new"}
    async with db.tenant(TENANT) as conn:
        for event_id, code in (("e1", "EVENT_NOT_DEAD"), ("nothing", "EVENT_NOT_FOUND")):
            with pytest.raises(Refused, match=code):
                await requeue_event(conn, TENANT, event_id)


async def test_a_schema_that_is_not_registered_is_refused_or_told_of(db: Database) -> None:
    """A publisher in Python was not told; one that uses the function of the database finds it where it looks."""
    async with db.tenant(TENANT) as conn:
        with pytest.raises(Refused, match="PAYLOAD_SCHEMA_REF_UNKNOWN at payloadSchemaRef"):
            await publish_checked(
                conn, tenant=TENANT, event_id="e0", event_name="PAID", payload_schema_ref="payload.Nope.v1"
            )
    await publish(db, "e1", payload_schema_ref="payload.Nope.v1")
    await route(db, POLICY)
    assert "its schema 'payload.Nope.v1' is not registered: its payload was held to none" in await notes_of(db, "e1")
    async with db.tenant(TENANT) as conn:
        await import_schemas(conn, {"payload.Nope.v1": {"type": "object"}})
    assert not [note for note in await notes_of(db, "e1") if "not registered" in note]


async def test_a_replay_is_a_new_event_for_those_who_wait_now(db: Database) -> None:
    await publish(db, "e1")
    await publish(db, "e2", "elsewhere")
    await route(db, POLICY)
    await write_run(db, a_write(1, waits=[a_wait(look_back_from=4_000_000_000_000)]), EXECUTION)
    async with db.tenant(TENANT) as conn:
        window = (await events_to_replay(conn, None, "PAID", datetime(2026, 1, 1, tzinfo=UTC), None, 10)).events
        assert [event.event_id for event in window] == ["e1", "e2"]
        assert [await reached(conn, event) for event in window] == [["wait-1"], []]
        (event,) = (await events_to_replay(conn, "e1", None, None, None, 10)).events
        new_id = await replay_event(conn, TENANT, event)
        with pytest.raises(Refused, match="OPTION_NOT_FITTING"):
            await events_to_replay(conn, None, None, None, None, 10)
        with pytest.raises(Refused, match="EVENT_NOT_FOUND"):
            await events_to_replay(conn, "nothing", None, None, None, 10)
    await route(db, POLICY)
    assert await deliveries_of(db) == {(new_id, "wait-1"): "new"}
    (row,) = [row for row in await rows(db, "workflow_runtime_events") if row["event_id"] == new_id]
    assert row["replay_of"] == "e1"


async def test_a_replay_has_the_whole_envelope_of_its_event(db: Database) -> None:
    """It had no schema, so that a payload which kept to none was routed all the same, and no time of its publisher."""
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    async with db.tenant(TENANT) as conn:
        await import_schemas(conn, {"payload.Paid.v1": {"type": "object", "required": ["currency"]}})
    await publish(db, "bad", payload_schema_ref="payload.Paid.v1", occurred_at=at)
    await publish(db, "null", payload=None, none_is_null=True)
    await route(db, POLICY)
    async with db.tenant(TENANT) as conn:
        found = await events_to_replay(conn, None, "PAID", datetime(2026, 1, 1, tzinfo=UTC), None, 10)
        for event in found.events:
            await replay_event(conn, TENANT, event)
    await route(db, POLICY)
    kept = ("event_name", "correlation_keys", "payload", "payload_schema_ref", "occurred_at", "status", "error_message")
    kept_rows = await rows(db, "workflow_runtime_events")
    for event_id in ("bad", "null"):
        (original,) = [row for row in kept_rows if row["event_id"] == event_id]
        (repeat,) = [row for row in kept_rows if row["replay_of"] == event_id]
        assert {name: repeat[name] for name in kept} == {name: original[name] for name in kept}
    assert {(row["status"], row["payload_schema_ref"], row["occurred_at"]) for row in kept_rows} == {
        ("dead", "payload.Paid.v1", at),
        ("routed", None, None),
    }


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"key": "k" * 10_240}, "has 10240 bytes, at most 2048 are taken"),
        ({"payload": {"text": "x" * 600_000}}, "bytes, at most"),
        ({"payload": {"text": "a\x00b"}}, r"U\+0000"),
        ({"event_name": " "}, "not empty"),
    ],
)
async def test_what_nothing_could_route_is_refused_with_what_is_taken(
    db: Database, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        await publish(db, "e1", **fields)
    assert await rows(db, "workflow_runtime_events") == []


async def test_a_clock_far_off_changes_nothing_since_routing_goes_by_its_own(db: Database) -> None:
    await publish(db, "future", occurred_at=datetime(2999, 1, 1, tzinfo=UTC))
    await publish(db, "past", occurred_at=datetime(1970, 1, 2, tzinfo=UTC))
    await route(db, POLICY)
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    assert await deliveries_of(db) == {("future", "wait-1"): "new"}, "it was routed first"
    assert (await verdicts(db, "past"))["wait-1"] == (
        "no match",
        "another event is on its way to the wait, which takes one; the run's next wait looks back for this one",
    )


async def test_events_of_the_waits_key_come_first_however_many_of_its_name_are_newer(db: Database) -> None:
    await write_run(db, a_write(1, waits=[a_wait("w", filters=FILTER)]), EXECUTION)
    await publish(db, "near")
    for number in range(60):
        await publish(db, f"other-{number}", f"key-of-{number}")
    await route(db, POLICY)
    await publish(db, "coming")
    found = await events_of(db, "w")
    assert list(found)[:2] == ["coming", "near"]
    assert found["coming"] == ("pending", None)
    assert found["near"] == ("no match", "filter amount > 9 does not hold: the event has 5")
    assert len(found) == 50


async def test_the_window_of_a_wait_goes_by_routing_in_its_explanation_too(
    database: MigratedDatabase, db: Database
) -> None:
    """An event may have been published long before the window and be routed in it."""
    await publish(db, "before")
    await route(db, POLICY)
    begin = int(datetime.now(UTC).timestamp() * 1000) + 1
    await publish(db, "inside")
    await route(db, POLICY)
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        await admin.execute("UPDATE workflow_runtime_events SET created_at = created_at - interval '1 day'")
    await write_run(db, a_write(1, waits=[a_wait("w", filters=FILTER, look_back_from=begin)]), EXECUTION)
    assert list(await events_of(db, "w")) == ["inside"]


STATUSES = ("pending", "routed", "unmatched", "dead", "new", "accepted", "consumed", "late", "unknown", "undeliverable")


def statuses_of(event: EventRow) -> set[str]:
    """What an event is listed by."""
    found = {event.status, *(str(delivery["status"]) for delivery in event.deliveries)}
    return found | ({"unmatched"} if event.status == "routed" and not event.deliveries else set())


@pytest_asyncio.fixture(loop_scope="session")
async def many(database: MigratedDatabase, db: Database) -> Database:
    """5,000 events that were routed and taken, and a few of each other status among them; one concerns nobody."""
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        await admin.execute("SET session_replication_role = replica")
        await admin.execute(
            "INSERT INTO workflow_runtime_events (tenant, event_id, event_name, correlation_key, correlation_keys,"
            " status, processed_at, created_at) SELECT %s, 'e' || g, 'PAID', 'k' || g, ARRAY['k' || g],"
            " CASE WHEN g = 700 THEN 'pending' WHEN g = 800 THEN 'dead' ELSE 'routed' END,"
            " CASE WHEN g NOT IN (700, 800) THEN now() - make_interval(secs => g) END, now() - make_interval(secs => g)"
            " FROM generate_series(1, 5000) AS g",
            [TENANT],
        )
        await admin.execute(
            "INSERT INTO workflow_event_deliveries (tenant, delivery_id, event_id, target_kind, target_id, run_id, key,"
            " status) SELECT %s, 'd' || g, 'e' || g, 'wait', 'w' || g, 'r' || g, 'k' || g, CASE g WHEN 901 THEN 'new'"
            " WHEN 902 THEN 'accepted' WHEN 903 THEN 'late' WHEN 904 THEN 'unknown' WHEN 905 THEN 'undeliverable'"
            " WHEN 906 THEN 'dead' ELSE 'consumed' END FROM generate_series(1, 5000) AS g"
            " WHERE g NOT IN (700, 800, 907)",
            [TENANT],
        )
        await admin.execute(
            "INSERT INTO workflow_run_waits (tenant, wait_id, run_id, step_path, wait_type, event_name, key,"
            " look_back_from, status, created_at, resolved_at, matched_event_id) SELECT %s, 'w' || g, 'r' || g, 's',"
            " 'event', 'PAID', 'k' || g, '2020-01-01', 'RESOLVED', now() - interval '1 day',"
            " now() - make_interval(secs => g), 'e' || g FROM generate_series(1, 5000) AS g",
            [TENANT],
        )
        await admin.execute("ANALYZE")
    return db


async def test_events_are_listed_by_their_status_or_that_of_a_delivery_newest_first(many: Database) -> None:
    async with many.tenant(TENANT) as conn:
        everything = await list_events(conn, limit=10_000)
        assert [event.event_id for event in everything] == [f"e{number}" for number in range(1, 5001)]
        for status in STATUSES:
            expected = [event.event_id for event in everything if status in statuses_of(event)]
            assert expected, status
            for name, wanted in ((None, expected), ("PAID", expected), ("OTHER", [])):
                found = await list_events(conn, status=status, name=name, limit=10_000)
                assert [event.event_id for event in found] == wanted, status
        assert await list_events(conn, status="nothing") == []


async def test_as_many_events_are_counted_as_are_listed(many: Database) -> None:
    now = datetime.now(UTC)
    for name, since, until in (
        (None, now - timedelta(days=1), None),
        ("PAID", now - timedelta(seconds=903), now - timedelta(seconds=60)),
        ("OTHER", now - timedelta(days=1), None),
    ):
        async with many.tenant(TENANT) as conn:
            listed = await list_events(conn, name=name, limit=10_000)
            counted = await count_events(conn, name, since, until, 100)
        window = [one for one in listed if one.created_at >= since and (until is None or one.created_at < until)]
        expected = Counter(status for event in window for status in statuses_of(event))
        assert {one.verdict: one.events for one in counted} == expected
        for one in counted:
            assert one.newest == max(event.created_at for event in window if one.verdict in statuses_of(event))


async def test_those_who_look_read_few_rows_of_many(many: Database) -> None:
    """Each of these read every row of a table."""
    at = datetime.now(UTC)

    async def window(conn: AsyncConnection) -> None:
        since, until = at - timedelta(seconds=100), at - timedelta(seconds=50)
        assert len((await events_to_replay(conn, None, None, since, until, 1000)).events) == 50

    looks: dict[str, Callable[[AsyncConnection], Awaitable[Any]]] = {
        "newest": list_events,
        **{status: partial(list_events, status=status) for status in ("pending", "dead", "new", "late", "unknown")},
        "window": window,
        "event": partial(explain_event, event_id="e30"),
        "wait": partial(explain_wait, wait_id="w30"),
    }
    read = text(
        "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables"
        " WHERE relname IN ('workflow_runtime_events', 'workflow_event_deliveries', 'workflow_run_waits')"
    )
    for name, look in looks.items():
        async with many.tenant(TENANT) as conn:
            await look(conn)
            assert (await conn.execute(read)).scalar_one() < 1000, name


async def test_an_event_with_very_many_deliveries_is_told_with_some_and_their_number(db: Database) -> None:
    """All of them were read with it, and with each list that has it: more than a statement has time for."""
    count = MAX_DELIVERIES + 3
    waits = [a_wait(f"w{number:03}", opened_at=OPENED + number) for number in range(count)]
    await write_run(db, a_write(1, waits=waits), EXECUTION)
    await publish(db, "e1")
    await route(db)
    last = f"w{count - 1:03}"
    async with db.tenant(TENANT) as conn:
        await conn.execute(
            text("UPDATE workflow_event_deliveries SET status = 'dead' WHERE target_id = :id"), {"id": last}
        )
        (listed,) = await list_events(conn)
    assert (len(listed.deliveries), listed.delivery_count) == (MAX_DELIVERIES, count)
    assert listed.deliveries[-1]["targetId"] == last, "what came to nothing is told first"
    assert [one["targetId"] for one in listed.deliveries[:-1]] == [
        f"w{number:03}" for number in range(MAX_DELIVERIES - 1)
    ]
    told = await verdicts(db, "e1")
    assert {told[f"w{number:03}"][0] for number in range(count - 4, count - 1)} == {"new"}
    assert set(told.values()) == {("new", None), ("dead", None)}
    assert await notes_of(db, "e1") == [f"it has {count} deliveries, of which {MAX_DELIVERIES} are told here"]


async def test_a_replay_asks_the_oldest_waits_only_and_says_that_there_are_others(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows_core.ingress.explaining.MAX_PROSPECTS", 2)
    waits = [a_wait(f"w{number}", opened_at=OPENED + number) for number in range(3)]
    await publish(db, "e1")
    await route(db)
    for open_now, others in ((waits[:2], []), (waits, ["others"])):
        await write_run(db, a_write(1, waits=open_now), EXECUTION)
        async with db.tenant(TENANT) as conn:
            await conn.execute(text("DELETE FROM workflow_event_deliveries"))
            (event,) = await list_events(conn)
            found = await would_reach(conn, TENANT, event, JlensEngine())
        assert [one.target_id for one in found if one.verdict == "match"] == ["w0", "w1"]
        assert [one.target_id for one in found if one.verdict == "unknown"] == others
