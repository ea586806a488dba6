"""A database that fails a transactional action for a moment fails no run, and the effect is there once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError

from harness.authored import Started, authored_runtime
from harness.databases import MigratedDatabase
from harness.interpreted import document
from harness.run_records import TENANT, a_call, rows
from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.execution import durably
from workflows_core.storage.database import Database
from workflows_core.storage.key_values import PostgresKeyValueStore
from workflows_core.storage.ledger import start_again

pytestmark = pytest.mark.asyncio(loop_scope="session")
Admin = psycopg.AsyncConnection[Any]
_WAITERS = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
_HOLD = "UPDATE workflow_data_store SET value = value WHERE key = %s"


async def both(_: Any, context: ActionContext) -> Any:
    """Counts in two places, one after the other."""
    assert context.store is not None
    await context.store.increment("n", "first", 1)
    found = await context.store.increment("n", "second", 1)
    return {"value": found.value}


async def in_sql(_: Any, context: ActionContext) -> Any:
    """Fails by a statement of its own fault."""
    assert isinstance(context.store, PostgresKeyValueStore)
    await context.store._conn.execute(
        text("SELECT nowhere FROM what_is_not WHERE it = :secretly"), {"secretly": "here"}
    )
    return {}


async def goes_on(_: Any, context: ActionContext) -> Any:
    """Keeps to itself what the database says."""
    assert context.store is not None
    await context.store.set("n", "kept", 1)
    with suppress(Exception):
        await context.store.list("n", limit=-1)
    return {}


PACKS: Mapping[str, Any] = {
    "core": core_pack(HttpPolicy()),
    "two": lambda: [
        Action(f"two.{name}", 1, handler, {"type": "object"}, {"type": "object"}, name, effect=Effect.TRANSACTIONAL)
        for name, handler in (("both", both), ("in_sql", in_sql), ("goes_on", goes_on))
    ],
}


def step(action: str, name: str = "done", /, **mapping: Any) -> dict[str, Any]:
    config = {"actionId": action, "version": 1, "inputMapping": mapping, "saveAs": name}
    return {"id": name, "type": "action.call", "config": config}


@asynccontextmanager
async def admin_of(database: MigratedDatabase) -> AsyncIterator[Admin]:
    async with await psycopg.AsyncConnection.connect(database.admin_url) as conn:
        yield conn


async def waiter(looking: Admin) -> int:
    """The process of the database that waits for a lock; the test's own time-out bounds it."""
    while True:
        found = await (await looking.execute(_WAITERS)).fetchone()
        if found is not None:
            return int(found[0])
        await asyncio.sleep(0.02)


async def set_off(run: Started) -> None:
    """Until the run's action was broken off by the database, of whose statement Temporal is told nothing."""
    while True:
        described = await run.handle.describe()
        assert described.status is WorkflowExecutionStatus.RUNNING
        for pending in described.raw_description.pending_activities:
            if pending.last_failure.application_failure_info.type == "DatabaseUnavailable":
                assert "workflow_data_store (" not in str(pending.last_failure)
                return
        await asyncio.sleep(0.05)


async def terminated(looking: Admin, holding: Admin) -> None:
    await looking.execute("SELECT pg_terminate_backend(%s)", (await waiter(looking),))


async def cancelled(looking: Admin, holding: Admin) -> None:
    """As by a statement's time limit, which has the same code."""
    await looking.execute("SELECT pg_cancel_backend(%s)", (await waiter(looking),))


async def deadlocked(looking: Admin, holding: Admin) -> None:
    await waiter(looking)
    # It looks for deadlocks so late that the run's own transaction is the one that finds it.
    await holding.execute(_HOLD, ("first",))


async def locked(looking: Admin, holding: Admin) -> None:
    """Waiting is limited by the database's own setting."""


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("fault", [terminated, cancelled, deadlocked, locked])
async def test_a_fault_of_the_database_in_a_transactional_action_is_tried_again(
    db: Database,
    database: MigratedDatabase,
    client: Client,
    fault: Callable[[Admin, Admin], Awaitable[None]],
    last: bool,
) -> None:
    async with db.tenant(TENANT) as conn:
        for key in ("first", "second"):
            await PostgresKeyValueStore(conn, TENANT, "before").set("n", key, 1)
    await db.engine.dispose()
    async with admin_of(database) as looking, admin_of(database) as holding:
        await looking.set_autocommit(True)
        if fault is locked:
            await looking.execute(f"ALTER DATABASE {database.name} SET lock_timeout = '100ms'")
        await holding.execute("SET deadlock_timeout = '1h'")
        await holding.execute(_HOLD, ("second",))
        async with authored_runtime(db, client, more=PACKS) as authored:
            steps = [step("two.both"), *([] if last else [step("test.act", "after", name="after")])]
            run = await authored.start(document(*steps))
            await fault(looking, holding)
            await set_off(run)
            await holding.rollback()
            await run.handle.result()
            timeline = await run.timeline()
    assert timeline.run.status == "SUCCEEDED"
    assert [(found.status, found.attempt) for found in timeline.steps] == [("SUCCEEDED", 1)] * len(steps)
    stored = {row["key"]: (row["value"], row["revision"]) for row in await rows(db, "workflow_data_store")}
    assert stored == {"first": (2, 2), "second": (2, 2)}


def breaking_off(times: int, handled: list[str]) -> Any:
    """A pack whose action has its transaction broken off by the database, so many times."""

    async def break_off(_: Any, context: ActionContext) -> Any:
        handled.append(context.run_id)
        if len(handled) <= times:
            assert isinstance(context.store, PostgresKeyValueStore)
            await context.store._conn.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return {}

    anything = {"type": "object"}
    broken = Action("tx.broken", 1, break_off, anything, anything, "Breaks off.", effect=Effect.TRANSACTIONAL)
    return {"tx": lambda: [broken]}


async def test_a_transactional_action_that_kills_its_workers_is_found_out(db: Database, client: Client) -> None:
    """Nothing told of its starts: it went on for ever, and healthy ones that ran beside it were taken for it."""
    handled: list[str] = []
    call = a_call(action_id="tx.broken", idempotency_key="the key")
    for number in range(4):
        await start_again(db, call, f"dead-{number}")
    for number in range(5):
        await start_again(db, call, f"dead-alone-{number}", alone=True)
    async with authored_runtime(db, client, more=breaking_off(1, handled)) as authored:
        again = step("tx.broken")
        again["config"]["idempotencyKey"] = {"$expr": "'the key'"}
        run = await authored.start(document(again))
        async with asyncio.timeout(30):
            error = await failed(run)
    # Of the first start of an activity nobody knows; its transaction was broken off, and the next one looked.
    assert len(handled) == 1
    assert (error["category"], error["code"]) == ("ActionCrashed", "ACTION_CRASHED")


async def test_what_the_database_breaks_off_again_and_again_is_not_taken_for_a_crash(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durably, "_DATABASE_RETRY", timedelta(milliseconds=10))
    handled: list[str] = []
    async with authored_runtime(db, client, more=breaking_off(12, handled)) as authored:
        run = await authored.start(document(step("tx.broken"), step("test.act", "after", name="after")))
        await run.handle.result()
    assert len(handled) == 13


async def failed(run: Started) -> Mapping[str, Any]:
    timeline = await run.until("FAILED")
    assert timeline.run.error_json is not None
    return timeline.run.error_json


async def test_a_statement_that_is_wrong_fails_its_step_without_being_shown(db: Database, client: Client) -> None:
    async with authored_runtime(db, client, more=PACKS) as authored:
        error = await failed(await authored.start(document(step("two.in_sql"))))
    assert (error["category"], error["code"]) == ("ActionError", "ACTION_FAULT")
    assert error["message"] == 'ProgrammingError: relation "what_is_not" does not exist'


def long_name(draw: random.Random, length: int = 256) -> str:
    return "".join(chr(draw.randrange(0x4E00, 0x9FFF)) for _ in range(length))


async def test_a_link_that_no_index_holds_fails_its_step_with_the_sizes(db: Database, client: Client) -> None:
    draw = random.Random(5)  # noqa: S311 - names, and no secrets
    parts = ("namespace", "left_type", "left_id", "relation", "right_type", "right_id")
    async with authored_runtime(db, client, more=PACKS) as authored:
        error = await failed(
            await authored.start(document(step("links.upsert", **{part: long_name(draw) for part in parts})))
        )
    assert (error["category"], error["code"]) == ("ValidationError", "INDEXED_VALUE_TOO_LONG")
    assert error["details"] == {"bytes": dict.fromkeys(parts, 768)}
    assert "left_id 768" in error["message"]
    assert "maximum 2704" in error["message"]
    assert "INSERT" not in error["message"]


def with_a_key_that_no_index_holds(action: str) -> dict[str, Any]:
    called = step(action, namespace="n", key="k")
    called["config"]["idempotencyKey"] = {"$expr": f"'{long_name(random.Random(6), 2000)}'"}  # noqa: S311 - as above
    return called


@pytest.mark.parametrize("action", ["store.increment", "test.act"])
async def test_an_action_whose_key_no_index_holds_fails_its_step(db: Database, client: Client, action: str) -> None:
    """A transactional one was tried again for ever; then its record kept all that came behind from being written."""
    book = step("test.act", "book", name="book") | {"onCompensate": [step("test.act", "unbook", name="unbook")]}
    async with authored_runtime(db, client, more=PACKS) as authored:
        steps = document(book, with_a_key_that_no_index_holds(action))
        run = await authored.start({**steps, "compensateOn": ["failure"]})
        with pytest.raises(WorkflowFailureError):
            await run.handle.result()
        timeline = await run.timeline()
    assert timeline.run.error_json is not None
    assert (timeline.run.status, timeline.run.error_json["code"]) == ("FAILED", "INDEXED_VALUE_TOO_LONG")
    assert {found.definition_step_id: found.status for found in timeline.steps} == {
        "book": "SUCCEEDED",
        "done": "FAILED",
        "unbook": "SUCCEEDED",
    }
    assert await rows(db, "workflow_data_store") == []


async def test_a_short_action_whose_key_no_index_holds_has_no_row_in_the_ledger(db: Database, client: Client) -> None:
    async with authored_runtime(db, client, more=PACKS) as authored:
        run = await authored.start(document(with_a_key_that_no_index_holds("test.echo")))
        await run.handle.result()
        timeline = await run.timeline()
    assert timeline.run.status == "SUCCEEDED"
    assert [(found.status, found.output_json) for found in timeline.steps] == [
        ("SUCCEEDED", {"namespace": "n", "key": "k"})
    ]
    assert timeline.invocations == []


@pytest.mark.parametrize("last", [True, False])
async def test_a_handler_that_keeps_an_error_of_its_store_to_itself_fails_its_step(
    db: Database, client: Client, last: bool
) -> None:
    """Its record could not be written in the aborted transaction, and it was called again for ever."""
    steps = [step("two.goes_on"), *([] if last else [step("test.act", "after", name="after")])]
    async with authored_runtime(db, client, more=PACKS) as authored:
        error = await failed(await authored.start(document(*steps)))
    assert (error["category"], error["code"]) == ("ActionError", "ACTION_FAULT")
    assert error["message"].startswith("two.goes_on@1 went on after the database had refused a statement of its store")
    assert await rows(db, "workflow_data_store") == []
