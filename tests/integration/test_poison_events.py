"""Events that no process can read: refused where they are published, and harmless where they are there all the same."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from temporalio.client import Client

from harness.databases import MigratedDatabase
from harness.ingress import route
from harness.run_records import EXECUTION, TENANT, a_wait, a_write, deliveries_of, publish, rows
from workflows_core.errors import Refused
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.ingress.router import route_pending
from workflows_core.ingress.sender import Sender
from workflows_core.launching.events import replay_event
from workflows_core.launching.launcher import Launcher
from workflows_core.storage.database import Database
from workflows_core.storage.events import EventRow, list_events
from workflows_core.storage.run_writes import write_run

pytestmark = pytest.mark.asyncio(loop_scope="session")
POLICY = IngressPolicy(event_attempts=2, first_delay_seconds=0.01)

DEEP = '{"a":' * 101 + "1" + "}" * 101
LONG_AGO = "0001-01-01 00:00:00+14"


def nested(levels: int) -> Any:
    return json.loads('{"a":' * levels + "1" + "}" * levels)


async def events(db: Database) -> dict[str, EventRow]:
    async with db.tenant(TENANT) as conn:
        return {event.event_id: event for event in await list_events(conn)}


async def insert_unchecked(
    database: MigratedDatabase, event_id: str, payload: str = "{}", occurred_at: str | None = None
) -> None:
    """As a build without these checks has left it, or somebody who went past all of them."""
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        await admin.execute("SET session_replication_role = replica")  # no triggers
        await admin.execute(
            "INSERT INTO workflow_runtime_events (tenant, event_id, event_name, correlation_key, correlation_keys,"
            " payload, occurred_at) VALUES (%s, %s, 'PAID', 'key-1', '{key-1}', %s::jsonb, %s)",
            [TENANT, event_id, payload, occurred_at],
        )


@pytest.mark.parametrize("levels", [101, 500, 3_000, 9_000])
async def test_an_entry_that_no_run_takes_is_dead_whether_python_can_read_it_or_not(
    database: MigratedDatabase, db: Database, levels: int
) -> None:
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    await insert_unchecked(database, "deep", '{"a":' * levels + "1" + "}" * levels)
    await publish(db, "good")
    async with asyncio.timeout(10):
        while (found := await events(db))["deep"].status == "pending":
            await asyncio.sleep(0.02)
            await route(db, POLICY)
    assert (found["deep"].status, found["good"].status) == ("dead", "routed")
    assert "nested deeper than 100 levels" in str(found["deep"].error_message) or found["deep"].attempts == 2
    assert await deliveries_of(db) == {("good", "wait-1"): "new"}


async def test_an_entry_that_nobody_can_read_is_dead_with_the_reason_and_holds_up_nothing(
    database: MigratedDatabase, db: Database
) -> None:
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    await insert_unchecked(database, "poison", '{"n": 1e5000}')
    await publish(db, "good")
    await route_pending(db, POLICY)
    assert await deliveries_of(db) == {("good", "wait-1"): "new"}
    async with asyncio.timeout(10):
        while (found := await events(db))["poison"].status == "pending":
            await asyncio.sleep(0.02)
            await route(db, POLICY)
    assert found["good"].status == "routed"
    poison = found["poison"]
    assert (poison.status, poison.attempts) == ("dead", 2)
    assert "limit" in str(poison.error_message)
    assert (poison.payload, poison.unreadable) != (None, None)
    assert "unreadable" in poison.to_json()
    with pytest.raises(Refused, match="cannot be read"):
        async with db.tenant(TENANT) as conn:
            await replay_event(conn, TENANT, poison)


async def test_a_time_that_no_process_has_holds_up_no_delivery(
    database: MigratedDatabase, db: Database, client: Client
) -> None:
    """The sender of all tenants once failed on each batch with such an event in it, for ever."""
    await write_run(db, a_write(1, waits=[a_wait()]), EXECUTION)
    await insert_unchecked(database, "long-ago", occurred_at=LONG_AGO)
    await route(db, POLICY)
    sender = Sender(db, Launcher(db, client), JlensEngine(), POLICY)
    assert await sender.send_ready() == 1
    (delivery,) = await rows(db, "workflow_event_deliveries")
    assert delivery["event_id"] == "long-ago"
    assert delivery["next_attempt_at"] > datetime.now(UTC)


@pytest.mark.parametrize(
    ("payload", "occurred_at", "reason"),
    [
        ('{"n": 1e309}', None, "a number out of range"),
        ('{"n": [-1e309]}', None, "a number out of range"),
        (DEEP, None, "nested deeper than 100 levels"),
        ("{}", LONG_AGO, "in the years 1 to 9999"),
        ("{}", "infinity", "in the years 1 to 9999"),
        ("{}", "9999-12-31 23:59:59-14", "in the years 1 to 9999"),
    ],
)
async def test_the_function_of_the_database_refuses_what_no_process_can_read(
    database: MigratedDatabase, db: Database, payload: str, occurred_at: str | None, reason: str
) -> None:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as conn:
        with pytest.raises(psycopg.errors.CheckViolation, match=f"EVENT_INVALID: .*{reason}"):
            await conn.execute(
                "SELECT workflow_publish_event(%s, 'e', 'PAID', %s::jsonb, p_occurred_at => %s)",
                [TENANT, payload, occurred_at],
            )
    assert await rows(db, "workflow_runtime_events") == []


async def test_the_function_of_the_database_takes_what_just_fits(database: MigratedDatabase, db: Database) -> None:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as conn:
        for event_id, payload in (("deep", json.dumps(nested(100))), ("large", '{"n": 1.7e308, "m": 1e-5000}')):
            await conn.execute("SELECT workflow_publish_event(%s, %s, 'PAID', %s::jsonb)", [TENANT, event_id, payload])
    await route(db, POLICY)
    assert {row["event_id"]: row["status"] for row in await rows(db, "workflow_runtime_events")} == {
        "deep": "routed",
        "large": "routed",
    }


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"payload": {"n": 10**309}}, "payload", "holds a number out of range"),
        ({"payload": {"n": float("inf")}}, "payload", "must be JSON"),
        ({"payload": nested(101)}, "payload", "is nested deeper than 100 levels"),
        ({"payload": {"a": "\x00"}}, "payload", "holds U+0000"),
        ({"payload": {"\ud800": 1}}, "payload", "holds half of a surrogate pair"),
        ({"payload": {"a": "x" * 600_000}}, "payload", "at most 524288"),
        ({"payload": [1] * 200_000}, "payload", "has 600000 bytes, at most 524288"),
        ({"payload": [1e300] * 2_000}, "payload", "bytes, at most 524288"),
        ({"occurred_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))}, "occurredAt", "years 1 to 9999"),
        ({"occurred_at": datetime(2026, 1, 1)}, "occurredAt", "with its zone"),  # noqa: DTZ001 - the point
    ],
)
async def test_a_publisher_is_told_what_is_wrong(db: Database, fields: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(Refused) as refused:
        await publish(db, "e", **fields)
    (problem,) = refused.value.problems
    assert (problem.code, problem.path) == ("EVENT_INVALID", path)
    assert message in problem.message
    assert await rows(db, "workflow_runtime_events") == []


async def test_the_end_of_a_run_is_written_whatever_its_event_is_like(database: MigratedDatabase, db: Database) -> None:
    """A child's end was refused, and tried again for ever, when its event was too large or its id was in use."""
    deep = nested(150)
    results = {"large": {"result": [1] * 200_000, "scopes": {}}, "deep": {"result": deep}, "usual": {"result": 1}}
    for run_id, result in results.items():
        await write_run(db, a_write(1, run_id=run_id), f"execution of {run_id}")
        async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
            await admin.execute("UPDATE workflow_runs SET parent_run_id = 'parent' WHERE run_id = %s", [run_id])
        await insert_unchecked(database, f"run-ended:{run_id}")
        end = a_write(2, run_id=run_id, status="SUCCEEDED", waits=[], result_json=result)
        await write_run(db, end, f"execution of {run_id}")
    assert {row["run_id"]: row["status"] for row in await rows(db, "workflow_runs")} == dict.fromkeys(
        results, "SUCCEEDED"
    )
    ends = {
        event.payload["runId"]: event.payload for event in (await events(db)).values() if event.event_name != "PAID"
    }
    assert ends["usual"]["result"] == {"result": 1}
    assert ends["deep"]["result"] == {"result": deep}
    assert (ends["large"]["result"], ends["large"]["resultBytes"]) == (None, 600_026)
