"""Runs that have gone further than their rows, as where a standby takes over that had not received everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from temporalio.client import Client, WorkflowFailureError

from harness.authored import Authored, Started, authored_runtime
from harness.databases import MigratedDatabase
from harness.ingress import ingress, route
from harness.interpreted import act, document, wait
from harness.repairs import reconciler
from harness.run_records import publish, rows
from workflows_core.storage.database import Database
from workflows_core.wire.names import SIGNAL_EVENT

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Those that others refer to come first.
TABLES = (
    *("workflow_runs", "workflow_run_steps", "workflow_action_invocations", "workflow_run_waits", "workflow_tasks"),
    *("workflow_run_logs", "workflow_runtime_events", "workflow_event_deliveries", "workflow_event_claims"),
)
NEXT = wait("SHIPPED", "'k2'")


@asynccontextmanager
async def lost(database: MigratedDatabase) -> AsyncIterator[None]:
    """The rows are as they were before the block again behind it."""
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        for table in TABLES:
            await admin.execute(f"CREATE TEMPORARY TABLE kept_{table} AS SELECT * FROM {table}")
        yield
        await admin.execute("SET session_replication_role = replica")
        for table in TABLES:
            await admin.execute(f"DELETE FROM {table}")
            columns = await admin.execute(
                "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute"
                " WHERE attrelid = %s::regclass AND attnum > 0 AND attgenerated = '' AND NOT attisdropped",
                [table],
            )
            [names] = await columns.fetchone() or [None]
            await admin.execute(
                f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM kept_{table}"
            )


async def sent(run: Started, name: str, key: str) -> None:
    body = {"eventId": f"{name}-{key}", "eventName": name, "correlationKey": key, "payload": {}}
    await run.handle.signal(SIGNAL_EVENT, body)


async def waiting(authored: Authored, *steps: dict[str, Any]) -> Started:
    run = await authored.start(document(wait("PAID", "'k1'"), *steps))
    await run.until("WAITING")
    return run


async def taking_before_another(db: Database, authored: Authored, *steps: dict[str, Any]) -> Started:
    """Of two runs that wait for the same event, for one of them only, the one that it was routed to."""
    one = wait("PAID", "'same'")
    one["config"]["match"] = "one"
    definition = document(one, *steps)
    runs = {}
    for _ in range(2):
        run = await authored.start(definition)
        await run.until("WAITING")
        runs[run.run_id] = run
    await publish(db, "e1", "same")
    await route(db)
    [delivery] = await rows(db, "workflow_event_deliveries")
    return runs[delivery["run_id"]]


async def test_a_run_that_has_succeeded_is_not_told_to_have_failed(
    db: Database, database: MigratedDatabase, client: Client
) -> None:
    """It was FAILED, so that somebody would have started it again, and have done everything twice."""
    async with authored_runtime(db, client) as authored:
        run = await waiting(authored, {"type": "control.return", "value": {"$expr": "7"}})
        async with lost(database):
            await sent(run, "PAID", "k1")
            result = await run.handle.result()
        assert (await run.timeline()).run.status == "WAITING"
        assert await reconciler(db, client).one_pass() == {"ended": 1}
        timeline = await run.timeline()
    assert (timeline.run.status, timeline.run.error_json, timeline.run.result_json) == ("SUCCEEDED", None, result)
    assert {found.status for found in timeline.waits} == {"RESOLVED"}
    [line] = [found for found in timeline.logs if found.level == "WARN"]
    assert "the database has lost that" in line.message


async def test_a_run_that_has_failed_says_why(db: Database, database: MigratedDatabase, client: Client) -> None:
    failing = {
        "type": "action.call",
        "config": {"actionId": "test.fail", "version": 1, "inputMapping": {"category": "ValidationError"}},
    }
    async with authored_runtime(db, client) as authored:
        run = await waiting(authored, failing)
        async with lost(database):
            await sent(run, "PAID", "k1")
            with pytest.raises(WorkflowFailureError):
                await run.handle.result()
            told = (await run.timeline()).run.error_json
        assert await reconciler(db, client).one_pass() == {"ended": 1}
        row = (await run.timeline()).run
    assert (row.status, row.error_json) == ("FAILED", told)
    assert (told or {})["category"] == "ValidationError"


async def test_a_parent_goes_on_with_what_its_child_has_given(
    db: Database, database: MigratedDatabase, client: Client
) -> None:
    async with authored_runtime(db, client) as authored:
        child, _, _ = await authored.publish(
            document(wait("PAID", "'k1'"), {"type": "control.return", "value": {"$expr": "7"}})
        )
        call = {"type": "control.callWorkflow", "workflowId": child, "workflowVersion": 1}
        parent = await authored.start(document({**call, "outputMapping": {"given": {"$expr": "childRun.result"}}}))
        await parent.until("WAITING")
        [row] = [found for found in await rows(db, "workflow_runs") if found["parent_run_id"] is not None]
        run = Started(authored, row["run_id"], client.get_workflow_handle(row["temporal_workflow_id"]))
        await run.until("WAITING")
        async with lost(database):
            await sent(run, "PAID", "k1")
            await run.handle.result()
        assert await reconciler(db, client).one_pass() == {"looked at": 1, "ended": 1}
        async with ingress(db, client), asyncio.timeout(20):
            result = await parent.handle.result()
    assert result["scopes"]["vars"]["given"] == 7


async def test_what_somebody_may_have_taken_is_given_to_nobody_else(
    db: Database, database: MigratedDatabase, client: Client
) -> None:
    """The run that had taken it had ended, and its claim was released: the event would have had its effect twice."""
    async with authored_runtime(db, client) as authored:
        # Behind the first action it no longer says that it took the event: that was written.
        taking = await taking_before_another(db, authored, act("first"), act("second"))
        async with lost(database), ingress(db, client):
            await taking.handle.result()
        assert (await reconciler(db, client).one_pass())["ended"] == 1
        [delivery] = await rows(db, "workflow_event_deliveries")
        [event] = await rows(db, "workflow_runtime_events")
    assert (delivery["status"], event["status"]) == ("undeliverable", "routed")
    assert delivery["reason"].startswith("outcome unknown: ")


@pytest.mark.parametrize("row", [True, False], ids=["a row", "no row"])
async def test_a_signal_that_says_nothing_has_a_run_write_what_it_waits_for(
    db: Database, database: MigratedDatabase, client: Client, row: bool
) -> None:
    """What docs/operating/failover.md has operators send to all open runs."""
    async with authored_runtime(db, client) as authored, ingress(db, client):
        if row:
            run = await waiting(authored, NEXT)
            async with lost(database):
                await sent(run, "PAID", "k1")
                while "SHIPPED" not in {found.event_name for found in (await run.timeline()).waits}:
                    await asyncio.sleep(0.02)
        else:
            async with lost(database):
                run = await authored.start(document(NEXT))
                await run.until("WAITING")
        # For the wait that the database does not know.
        await publish(db, "shipped", "k2", event_name="SHIPPED")
        await run.handle.signal(SIGNAL_EVENT, {})
        async with asyncio.timeout(20):
            await run.handle.result()
        timeline = await run.timeline()
    assert timeline.run.status == "SUCCEEDED"
    assert [found.event_id for found in timeline.deliveries if found.status == "consumed"] == ["shipped"]


async def test_what_a_cancelled_run_may_have_taken_is_given_to_nobody_else(
    db: Database, database: MigratedDatabase, client: Client
) -> None:
    """It was told that it could not record its end, and the event had its effect twice."""
    async with authored_runtime(db, client) as authored:
        taking = await taking_before_another(db, authored, NEXT)
        async with lost(database), ingress(db, client):
            while "SHIPPED" not in {found.event_name for found in (await taking.timeline()).waits}:
                await asyncio.sleep(0.02)
            await taking.handle.cancel()
            with pytest.raises(WorkflowFailureError):
                await taking.handle.result()
            told = (await taking.timeline()).run
        assert (await reconciler(db, client).one_pass())["ended"] == 1
        [delivery] = await rows(db, "workflow_event_deliveries")
        row = (await taking.timeline()).run
    assert (row.status, row.error_json) == ("CANCELED", told.error_json)
    assert (delivery["status"], delivery["reason"][:17]) == ("undeliverable", "outcome unknown: ")
