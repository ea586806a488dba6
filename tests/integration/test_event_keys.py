"""Keys of events and waits: one meaning and one limit for every way in, and the order of publishing."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from temporalio.client import Client

from harness.authored import authored_runtime
from harness.databases import MigratedDatabase
from harness.ingress import ingress, route
from harness.interpreted import act, document, wait
from harness.run_records import EXECUTION, TENANT, a_wait, a_write, deliveries_of, publish, rows
from workflows_core.errors import Refused
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.interpreter.correlation import (
    MAX_ID_BYTES,
    MAX_KEY_BYTES,
    MAX_KEYS,
    MAX_NAMED_BYTES,
    key_text,
)
from workflows_core.launching.events import events_to_replay, publish_checked, replay_event
from workflows_core.storage.database import Database
from workflows_core.storage.events import publish_event
from workflows_core.storage.run_writes import write_run

pytestmark = pytest.mark.asyncio(loop_scope="session")
POLICY = IngressPolicy(first_delay_seconds=0.01)
CJK_BYTES = 3


def noise(size: int, first: int = 33, last: int = 126) -> str:
    """A text of so many characters that no compression makes shorter."""
    chance = random.Random(size)  # noqa: S311 - the same at each run
    return "".join(chr(chance.randint(first, last)) for _ in range(size))


def cjk(size: int) -> str:
    """As `noise`, three bytes a character."""
    return noise(size, 0x4E00, 0x9FA5)


def event(**changes: Any) -> dict[str, Any]:
    return {"tenant": TENANT, "event_id": "e1", "event_name": "PAID", "correlation_key": "k1", **changes}


async def published_by_function(database: MigratedDatabase, fields: dict[str, Any]) -> None:
    named = ", ".join(f"p_{name} => %({name})s" for name in fields)
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as conn:
        await conn.execute(f"SELECT workflow_publish_event({named})", fields)


async def keys_of(db: Database) -> dict[str, list[str]]:
    return {row["event_id"]: row["correlation_keys"] for row in await rows(db, "workflow_runtime_events")}


async def test_events_of_one_transaction_are_routed_in_the_order_of_publishing(db: Database) -> None:
    """They were routed in the order of their ids, since all have the time at which the transaction began."""
    ids = ["z-first", "m-second", "q-third", "a-last"]
    async with db.tenant(TENANT) as conn:
        for event_id in ids:
            await publish_event(conn, **event(event_id=event_id))
    await route(db, POLICY)
    routed = await rows(db, "workflow_runtime_events", order="processed_at")
    assert [row["event_id"] for row in routed] == ids
    async with db.tenant(TENANT) as conn:
        window = (await events_to_replay(conn, None, "PAID", routed[0]["created_at"], None, 10)).events
        assert [one.event_id for one in window] == ids
        repeats = [await replay_event(conn, TENANT, one) for one in [*window, *window, *window]]
    await route(db, POLICY)
    again = await rows(db, "workflow_runtime_events", order="processed_at")
    assert [row["event_id"] for row in again][len(ids) :] == repeats


@pytest.mark.parametrize(
    ("fields", "path", "said"),
    [
        ({"correlation_key": noise(10_240)}, "correlationKey", "the correlation key has 10240 bytes, at most 2048"),
        ({"correlation_key": cjk(1024)}, "correlationKey", "the correlation key has 3072 bytes, at most 2048"),
        ({"correlation_key": cjk(683)}, "correlationKey", "has 2049 bytes"),
        ({"event_id": noise(3000)}, "eventId", "the event id has 3000 bytes, at most 1280"),
        ({"event_id": noise(MAX_ID_BYTES + 1)}, "eventId", "has 1281 bytes"),
        (
            {"event_name": noise(6000), "correlation_key": None},
            "eventId",
            "event name and correlation key have 6006 bytes together, at most 2560",
        ),
        (
            {"correlation_key": noise(MAX_KEY_BYTES), "event_id": noise(505)},
            "correlationKey",
            "have 2561 bytes together",
        ),
    ],
)
async def test_what_no_index_holds_is_refused_with_its_size_and_the_limit(
    database: MigratedDatabase, db: Database, fields: dict[str, Any], path: str, said: str
) -> None:
    """It ended as an error of the database, which no caller was told in words."""
    async with db.tenant(TENANT) as conn:
        with pytest.raises(Refused) as refused:
            await publish_checked(conn, payload={}, **event(**fields))
    (problem,) = refused.value.problems
    assert (problem.code, problem.path) == ("EVENT_INVALID", path)
    assert said in problem.message
    with pytest.raises(psycopg.errors.CheckViolation) as function:
        await published_by_function(database, event(**fields))
    assert str(function.value).startswith("EVENT_INVALID: ")
    assert said in str(function.value)
    assert await rows(db, "workflow_runtime_events") == []


@pytest.mark.parametrize("name", ["event_id", "event_name", "correlation_key", "payload_schema_ref"])
async def test_a_text_that_cannot_be_stored_is_refused_wherever_it_stands(db: Database, name: str) -> None:
    """A name was looked up before it was checked, and ended as an error of the driver."""
    for wrong in ("a\x00b", "a\ud800"):
        async with db.tenant(TENANT) as conn:
            with pytest.raises(Refused) as refused:
                await publish_checked(conn, payload={}, **{**event(), name: wrong})
        assert [(one.code, one.path.lower()) for one in refused.value.problems] == [
            ("EVENT_INVALID", name.replace("_", ""))
        ]
    assert await rows(db, "workflow_runtime_events") == []


async def test_an_event_has_a_most_of_keys(database: MigratedDatabase, db: Database) -> None:
    """Each is a lock: those of one event could be more than the server has, and no event was routed any more."""
    keys = [f"k{number}" for number in range(MAX_KEYS + 1)]
    several = {name: value for name, value in event().items() if name != "correlation_key"}
    async with db.tenant(TENANT) as conn:
        with pytest.raises(Refused, match=r"EVENT_INVALID at correlationKeys.*101 correlation keys, at most 100"):
            await publish_event(conn, **several, correlation_keys=keys)
    with pytest.raises(psycopg.errors.CheckViolation, match="101 correlation keys, at most 100"):
        await published_by_function(database, {**several, "correlation_keys": keys})
    # The same key twice is one.
    await published_by_function(database, {**several, "correlation_keys": [*keys[1:], " k1 "]})
    await route(db, POLICY)
    assert {row["event_id"]: row["status"] for row in await rows(db, "workflow_runtime_events")} == {"e1": "routed"}


async def test_an_event_of_before_with_more_keys_than_there_are_locks_stops_no_other(
    database: MigratedDatabase, db: Database
) -> None:
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        await admin.execute(
            "INSERT INTO workflow_runtime_events (tenant, event_id, event_name, correlation_key, correlation_keys)"
            " SELECT %s, 'huge', 'PAID', 'k1', array_agg('k' || n ORDER BY n) FROM generate_series(1, 50000) AS n",
            [TENANT],
        )
    await publish(db, "e1")
    await route(db, POLICY)
    found = {
        row["event_id"]: (row["status"], row["error_message"]) for row in await rows(db, "workflow_runtime_events")
    }
    assert found == {
        "e1": ("routed", None),
        "huge": ("dead", "the event has 50000 correlation keys, which are more than can be locked"),
    }


async def test_what_is_just_taken_is_routed_to_its_wait(database: MigratedDatabase, db: Database) -> None:
    """The largest of everything, in texts that no index compresses: published both ways, found both ways."""
    name = "PAID"
    room = MAX_NAMED_BYTES - len(TENANT) - len(name)
    shapes = [
        (noise(room - MAX_KEY_BYTES), noise(MAX_KEY_BYTES)),
        (noise(MAX_ID_BYTES), noise(room - MAX_ID_BYTES)),
        ("wide", cjk(MAX_KEY_BYTES // CJK_BYTES)),
    ]
    for by_function in (True, False):
        for number, (event_id, key) in enumerate(shapes):
            fields = event(event_id=event_id[:-1] + str(int(by_function)), correlation_key=key)
            run = f"run-{by_function}-{number}"
            before = a_write(1, run_id=run, waits=[a_wait(f"before-{run}", key, look_back_from=4_000_000_000_000)])
            await write_run(db, before, f"execution of {run}")
            if by_function:
                await published_by_function(database, fields)
            else:
                async with db.tenant(TENANT) as conn:
                    await publish_event(conn, **fields)
            await route(db, POLICY)
            assert (await deliveries_of(db))[fields["event_id"], f"before-{run}"] == "new"
            late = f"late-{run}"
            await write_run(db, a_write(1, run_id=late, waits=[a_wait(late, key)]), f"execution of {late}")
            assert [target for _, target in await deliveries_of(db)].count(late) == 1


async def test_a_key_of_the_payload_that_is_too_long_is_a_verdict_at_once(db: Database) -> None:
    await write_run(db, a_write(1, waits=[a_wait(key="c-1")]), EXECUTION)
    await publish(db, "long", None, payload={"ticketId": noise(10_240)})
    await publish(db, "same", None, payload={"ticketId": "x" * 10_240})
    await publish(db, "beside", None, payload={"clientId": "c-1", "invoiceId": noise(10_240)})
    await route(db, POLICY)
    found = {row["event_id"]: row for row in await rows(db, "workflow_runtime_events")}
    for event_id in ("long", "same"):
        assert (found[event_id]["status"], found[event_id]["attempts"]) == ("dead", 1)
        assert "the correlation key has 10240 bytes, at most 2048 are taken" in found[event_id]["error_message"]
    assert await deliveries_of(db) == {("beside", "wait-1"): "new"}


async def test_a_wait_of_before_with_a_long_key_that_could_be_stored_still_gets_its_event(db: Database) -> None:
    key = "abc" * 1000
    await write_run(db, a_write(1, waits=[a_wait(key=key)]), EXECUTION)
    await publish(db, "e1", None, payload={"ticketId": key})
    await route(db, POLICY)
    assert await deliveries_of(db) == {("e1", "wait-1"): "new"}
    await write_run(db, a_write(2, waits=[a_wait(key=key)]), EXECUTION)
    assert [row["status"] for row in await rows(db, "workflow_run_waits")] == ["WAITING"]


async def test_a_wait_whose_key_is_too_long_fails_its_step(db: Database, client: Client) -> None:
    """The run's write was tried again for ever."""
    async with authored_runtime(db, client) as authored, ingress(db, client):
        steps = [{"type": "control.tryCatch", "try": [{"id": "w", **wait()}], "catch": [{"id": "c", **act()}]}]
        caught = await authored.start(document(*steps), {"id": noise(5000)})
        failed = await authored.start(document(wait()), {"id": noise(5000)})
        async with asyncio.timeout(30):
            await caught.handle.result()
            await failed.until("FAILED")
        error = (await failed.timeline()).run.error_json
    assert error is not None
    assert (error["category"], error["code"]) == ("ValidationError", "CORRELATION_KEY_TOO_LONG")
    assert error["message"] == "the correlation key has 5000 bytes, at most 2048 are taken"


async def test_a_run_that_has_opened_such_a_wait_before_fails_instead_of_trying_for_ever(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a build has begun it that had no limit."""
    monkeypatch.setattr("workflows_core.execution.load.MAX_KEY_BYTES", None)
    async with authored_runtime(db, client) as authored:
        short = await authored.start(document(wait()), {"id": "abc" * 1000})
        long = await authored.start(document(wait()), {"id": noise(5000)})
        async with asyncio.timeout(30):
            await long.until("FAILED")
            await short.until("WAITING")
        error = (await long.timeline()).run.error_json
    assert error is not None
    assert (error["category"], error["code"]) == ("ValidationError", "INDEXED_VALUE_TOO_LONG")
    assert "workflow_run_waits_open" in error["message"]


WHITE = "".join(chr(code) for code in range(0x110000) if chr(code).isspace())
BLANKS = ["", " ", WHITE, "\ufeff", "\u200b", "\u180e", " \u200b ", *WHITE]
TEXTS = [*BLANKS, *(f"{one}k{one}1{one}" for one in WHITE), "\u200bk", "k\ufeff", " T1 "]


async def test_a_key_means_the_same_for_the_function_of_the_database(database: MigratedDatabase, db: Database) -> None:
    """It took keys as they were given, so that no wait matched one with white space, and none was derived for ''."""
    payload = '{"ticketId": "derived"}'
    for number, text in enumerate(TEXTS):
        fields = {"tenant": TENANT, "event_id": f"sql-{number}", "event_name": "TICKET_CREATED", "payload": payload}
        await published_by_function(database, {**fields, "correlation_key": text})
        several: Any = [text, None, "last", text]
        await published_by_function(database, {**fields, "event_id": f"several-{number}", "correlation_keys": several})
        async with db.tenant(TENANT) as conn:
            given = event(event_id=f"py-{number}", event_name="TICKET_CREATED", correlation_key=text)
            await publish_event(conn, **given, payload={"ticketId": "derived"})
    await route(db, POLICY)
    found = await keys_of(db)
    for number, text in enumerate(TEXTS):
        key = key_text(text)
        assert found[f"sql-{number}"] == found[f"py-{number}"] == ["derived" if key is None else key], ascii(text)
        assert found[f"several-{number}"] == ["last" if key is None else key, "last"][key is None :], ascii(text)


async def test_a_repeat_is_the_same_event_where_all_that_it_names_is_the_first_ones(db: Database) -> None:
    chance = random.Random(7)  # noqa: S311 - the same at each run
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    whole: dict[str, list[Any]] = {"event_name": ["PAID", "SENT"], "payload": [{"n": 1}, {"n": 2}]}
    named: dict[str, list[Any]] = {
        "correlation_key": [None, "k1", "k2"],
        "payload_schema_ref": [None, "paid.v1", "paid.v2"],
        "occurred_at": [None, noon, noon + timedelta(microseconds=1)],
    }
    verdicts = set()
    for number in range(200):
        first = {field: chance.choice(values) for field, values in {**whole, **named}.items()}
        again = {field: chance.choice([first[field], *values]) for field, values in {**whole, **named}.items()}
        same = all(again[field] == first[field] for field in whole) and all(
            again[field] in (None, first[field]) for field in named
        )
        ids: dict[str, Any] = {"tenant": TENANT, "event_id": f"e{number}"}
        async with db.tenant(TENANT) as conn:
            assert await publish_event(conn, **ids, **first)
        try:
            async with db.tenant(TENANT) as conn:
                found = await publish_event(conn, **ids, **again)
        except Refused as error:
            found = error.code == "EVENT_CONFLICT"
        assert found is not same, (first, again)
        verdicts.add(same)
    assert verdicts == {True, False}


async def test_a_publisher_that_looks_for_its_own_tables_first_publishes_all_the_same(
    database: MigratedDatabase, db: Database
) -> None:
    async with await psycopg.AsyncConnection.connect(database.url) as conn:
        await conn.execute("SET LOCAL search_path = pg_catalog")
        before = await conn.execute("SELECT set_config('workflows.tenant', 'mine', true)")
        assert await before.fetchall() == [("mine",)]
        await conn.execute("SELECT public.workflow_publish_event('acme', 'e1', 'PAID', '{}', 'k1')")
        after = await conn.execute("SELECT current_setting('workflows.tenant'), current_setting('search_path')")
        assert await after.fetchall() == [("mine", "pg_catalog")]
    assert await keys_of(db) == {"e1": ["k1"]}


async def test_a_repeat_of_an_event_of_before_is_none_that_says_otherwise(
    database: MigratedDatabase, db: Database
) -> None:
    """Its key stands as it was given then."""
    await published_by_function(database, event())
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        await admin.execute(
            "UPDATE workflow_runtime_events SET correlation_keys = '{\" k1 \"}', correlation_key = ' k1 '"
        )
    await published_by_function(database, event(correlation_key=" k1 "))
    with pytest.raises(psycopg.Error, match="with another name, key, payload, schema or time"):
        await published_by_function(database, event(correlation_key="k2"))
