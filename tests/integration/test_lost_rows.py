"""A run whose row is gone, as in a database that was restored, goes on and has one again."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from temporalio.client import Client

from harness.authored import Started, authored_runtime
from harness.databases import MigratedDatabase
from harness.ingress import ingress
from harness.interpreted import document, wait
from harness.run_records import rows
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.storage.database import Database
from workflows_core.wire.names import SIGNAL_EVENT

pytestmark = pytest.mark.asyncio(loop_scope="session")


def act(name: str, action: str = "test.act") -> dict[str, Any]:
    config = {"actionId": action, "version": 1, "inputMapping": {"name": name}, "saveAs": name}
    return {"id": name, "type": "action.call", "config": config}


async def lose(database: MigratedDatabase, run: Started) -> None:
    """The row, with all that belongs to it."""
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        for table in ("run_waits", "action_invocations", "run_steps", "run_logs", "runs"):
            await admin.execute(f"DELETE FROM workflow_{table} WHERE run_id = %s", (run.run_id,))


async def sent(run: Started, name: str, key: str) -> None:
    body = {"eventId": name, "eventName": name, "correlationKey": key, "payload": {}}
    await run.handle.signal(SIGNAL_EVENT, body)


@pytest.mark.parametrize("last", [True, False], ids=["last", "not last"])
@pytest.mark.parametrize("action", ["test.act", "test.once"])
async def test_an_action_that_is_under_way_is_recorded(
    db: Database, database: MigratedDatabase, client: Client, action: str, last: bool
) -> None:
    async with authored_runtime(db, client) as authored:
        gate = authored.effects.gates["slow"] = asyncio.Event()
        steps = [act("before"), act("slow", action), *([] if last else [act("behind")])]
        run = await authored.start(document(*steps))
        while not authored.effects.count("slow"):
            await asyncio.sleep(0.02)
        await lose(database, run)
        gate.set()
        await run.handle.result()
        timeline = await run.timeline()
        calls = authored.effects.count("slow")
    assert calls == 1
    assert timeline.run.status == "SUCCEEDED"
    assert timeline.run.definition_hash is not None
    assert [step.step_path for step in timeline.steps][:1] == ["root.steps[1]"]
    assert [found.status for found in timeline.invocations] == ["SUCCEEDED"] * (1 if last else 2)


COUNT = {
    "id": "count",
    "type": "action.call",
    "config": {"actionId": "store.increment", "version": 1, "inputMapping": {"namespace": "n", "key": "k"}},
}
NEXT = wait("SHIPPED", "'k2'")


@pytest.mark.parametrize("behind", [[COUNT], [COUNT, act("behind")], [NEXT], []], ids=["last", "count", "wait", "end"])
async def test_what_is_written_next_is_recorded(
    db: Database, database: MigratedDatabase, client: Client, behind: list[dict[str, Any]]
) -> None:
    async with authored_runtime(db, client, more={"core": core_pack(HttpPolicy())}) as authored:
        run = await authored.start(document(wait("PAID", "'k1'"), *behind))
        await run.until("WAITING")
        await lose(database, run)
        await sent(run, "PAID", "k1")
        if behind == [NEXT]:
            open_waits = [found.event_name for found in (await run.until("WAITING")).waits if found.status == "WAITING"]
            assert open_waits == ["SHIPPED"]
            await sent(run, "SHIPPED", "k2")
        await run.handle.result()
        timeline = await run.timeline()
    assert timeline.run.status == "SUCCEEDED"
    assert [row["value"] for row in await rows(db, "workflow_data_store")] == [1] * (COUNT in behind)


async def test_the_parent_of_a_child_whose_row_was_lost_is_told_of_its_end(
    db: Database, database: MigratedDatabase, client: Client
) -> None:
    """It waited for ever: the row that came back was nobody's child."""
    async with authored_runtime(db, client) as authored, ingress(db, client):
        child, _, _ = await authored.publish(
            document(wait("PAID", "'k1'"), {"type": "control.return", "value": {"$expr": "7"}})
        )
        call = {"type": "control.callWorkflow", "workflowId": child, "workflowVersion": 1}
        parent = await authored.start(document({**call, "outputMapping": {"given": {"$expr": "childRun.result"}}}))
        await parent.until("WAITING")
        (row,) = [found for found in await rows(db, "workflow_runs") if found["parent_run_id"] is not None]
        run = Started(authored, row["run_id"], client.get_workflow_handle(row["temporal_workflow_id"]))
        await run.until("WAITING")
        await lose(database, run)
        await sent(run, "PAID", "k1")
        await run.handle.result()
        (again,) = [found for found in await rows(db, "workflow_runs") if found["run_id"] == run.run_id]
        assert (again["parent_run_id"], again["root_run_id"]) == (parent.run_id, parent.run_id)
        result = await parent.handle.result()
    assert result["scopes"]["vars"]["given"] == 7
