"""`human.task` on Temporal: the inbox row, answers by inbox, event and signal, each checked."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from temporalio.client import Client

from harness.authored import TENANT, Started, authored_runtime
from harness.databases import MigratedDatabase
from harness.ingress import ingress
from harness.interpreted import document
from harness.run_records import EXECUTION, RUN, a_write, publish, rows
from workflows_core.errors import Refused
from workflows_core.execution import driver
from workflows_core.execution.worker import authored_replayer
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.ingress.router import route_pending
from workflows_core.launching.reminders import TaskReminders
from workflows_core.storage.database import Database
from workflows_core.storage.events import publish_event
from workflows_core.storage.human_tasks import answer_task, assign_task, claim_task, list_tasks, release_task
from workflows_core.storage.run_writes import write_run
from workflows_core.wire.names import HUMAN_TASK_REMINDER, QUERY_SUMMARY, SIGNAL_EVENT, SIGNAL_HUMAN_TASK

pytestmark = pytest.mark.asyncio(loop_scope="session")
SCHEMA = {"type": "object", "required": ["approved"], "properties": {"approved": {"type": "boolean"}}}


def task(**config: Any) -> dict[str, Any]:
    config = {
        "taskType": "approval",
        "title": {"$expr": "'Approve ' & payload.id"},
        "contextData": {"amount": {"$expr": "payload.amount"}},
        "assignedRoles": {"$expr": "['manager']"},
        "dueInMs": 3_600_000,
        "responseSchema": SCHEMA,
        "assign": {"approved": {"$expr": "event.approved"}},
        **config,
    }
    return {"type": "human.task", "config": config}


async def task_row(db: Database) -> dict[str, Any]:
    (row,) = await rows(db, "workflow_tasks")
    return row


async def log_of(run: Started) -> list[str]:
    return [line.message for line in (await run.timeline()).logs]


async def test_hole_15_an_answer_in_the_inbox_resumes_the_run_and_an_invalid_one_leaves_the_task_open(
    db: Database, client: Client
) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        run = await authored.start(document(task()), {"id": "A-1", "amount": 9})
        await run.until("WAITING")
        async with db.tenant(TENANT) as conn:
            (found,) = await list_tasks(conn)
        assert (found.title, found.context_data, found.assigned_roles) == ("Approve A-1", {"amount": 9}, ["manager"])
        assert found.due_date is not None
        for wrong in ({"approved": "yes"}, None):
            with pytest.raises(Refused, match="TASK_ANSWER_INVALID"):
                async with db.tenant(TENANT) as conn:
                    await answer_task(conn, TENANT, found.task_id, wrong, "anna")
        async with db.tenant(TENANT) as conn:
            await answer_task(conn, TENANT, found.task_id, {"approved": True}, "anna")
        result = await run.handle.result()
        with pytest.raises(Refused, match="TASK_CLOSED"):
            async with db.tenant(TENANT) as conn:
                await answer_task(conn, TENANT, found.task_id, {"approved": False}, "bert")
    assert result["scopes"]["vars"]["approved"] is True
    row = await task_row(db)
    assert (row["status"], row["completed_by"], row["response_data"]) == ("completed", "anna", {"approved": True})


@pytest.mark.parametrize("schema", [{"type": ["null", "string"]}, None], ids=["schema", "any"])
async def test_the_answer_null_arrives_as_null(db: Database, client: Client, schema: dict[str, Any] | None) -> None:
    """The inbox said completed, and the run was given `{}`, which a schema may refuse: it waited for ever."""
    async with authored_runtime(db, client) as authored, ingress(db, client):
        asked = task(responseSchema=schema, assign={"answer": {"$expr": "event"}})
        if schema is None:
            del asked["config"]["responseSchema"]
        run = await authored.start(document(asked), {"id": "A-1", "amount": 9})
        await run.until("WAITING")
        async with db.tenant(TENANT) as conn:
            (found,) = await list_tasks(conn)
            await answer_task(conn, TENANT, found.task_id, None, "anna")
        async with asyncio.timeout(30):
            result = await run.handle.result()
    assert result["scopes"]["vars"]["answer"] is None
    row = await task_row(db)
    assert (row["status"], row["completed_by"], row["response_data"]) == ("completed", "anna", None)
    (event,) = await rows(db, "workflow_runtime_events")
    assert event["payload"] is None


@pytest.mark.parametrize("way", ["signal", "event"])
async def test_hole_15_an_answer_that_comes_to_the_run_is_checked_there(db: Database, client: Client, way: str) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        run = await authored.start(document(task()), {"id": "A-1", "amount": 9})
        await run.until("WAITING")
        task_id = (await task_row(db))["task_id"]
        for number, answer in enumerate([{"approved": "no boolean"}, {"approved": False}]):
            if way == "signal":
                await run.handle.signal(SIGNAL_HUMAN_TASK, {"taskId": task_id, "payload": answer})
            else:
                await publish(db, f"e{number}", task_id, event_name="HUMAN_TASK_COMPLETED", payload=answer)
        result = await run.handle.result()
    assert result["scopes"]["vars"]["approved"] is False
    assert (await task_row(db))["status"] == "completed"
    assert any("does not fit the task's schema" in line for line in await log_of(run))


async def test_an_answer_that_comes_while_an_invalid_one_is_on_its_way_is_taken_after_it(
    db: Database, client: Client
) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(task()), {"id": "A-1", "amount": 9})
        await run.until("WAITING")
        task_id = (await task_row(db))["task_id"]
        for number, answer in enumerate([{"approved": "no boolean"}, {"approved": 7}, {"approved": False}]):
            await publish(db, f"e{number}", task_id, event_name="HUMAN_TASK_COMPLETED", payload=answer)
        while await route_pending(db, IngressPolicy()):
            pass
        async with ingress(db, client):
            result = await run.handle.result()
    assert result["scopes"]["vars"]["approved"] is False
    verdicts = {row["event_id"]: (row["status"], row["reason"]) for row in await rows(db, "workflow_event_deliveries")}
    refused = ("undeliverable", "an answer does not fit the task's schema: the task stays open")
    assert verdicts == {"e0": refused, "e1": refused, "e2": ("consumed", None)}


async def test_hole_15_a_task_expires_and_a_cancelled_run_leaves_none_open(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        late = await authored.start(document({**task(timeoutMs=1_200), "onError": {"policy": "continue"}}), {"id": "x"})
        result = await late.handle.result()
        assert (await task_row(db))["status"] == "expired"
        left = await authored.start(document(task()), {"id": "y"})
        await left.until("WAITING")
        await left.handle.cancel()
        await left.until("CANCELED")
    assert result["scopes"]["error"]["code"] == "HUMAN_TASK_TIMED_OUT"
    assert {row["execution_id"]: row["status"] for row in await rows(db, "workflow_tasks")} == {
        late.run_id: "expired",
        left.run_id: "canceled",
    }


async def test_an_answer_behind_the_time_of_its_task_is_refused_also_before_the_run_has_said_so(
    db: Database, client: Client
) -> None:
    """It was taken, the inbox said completed, and the run went on without it."""
    async with authored_runtime(db, client) as authored, ingress(db, client):
        run = await authored.start(document({**task(timeoutMs=1_000), "onError": {"policy": "continue"}}), {"id": "x"})
        await run.until("WAITING")
        row = await task_row(db)
        async with db.tenant(TENANT) as conn:
            # What the run decides cannot be written meanwhile.
            await conn.exec_driver_sql("SELECT FROM workflow_runs FOR UPDATE")
            while datetime.now(UTC) <= row["expires_at"]:
                await asyncio.sleep(0.05)
            with pytest.raises(Refused, match=r"TASK_CLOSED at taskId: task '.*' is expired, at 20"):
                async with db.tenant(TENANT) as other:
                    await answer_task(other, TENANT, row["task_id"], {"approved": True}, "anna")
        result = await run.handle.result()
    assert result["scopes"]["error"]["code"] == "HUMAN_TASK_TIMED_OUT"
    row = await task_row(db)
    assert (row["status"], row["response_data"], row["completed_by"]) == ("expired", None, None)
    assert await rows(db, "workflow_runtime_events") == []


async def test_an_answer_in_time_that_reaches_the_run_behind_its_time_out_does_not_say_completed(
    db: Database, client: Client
) -> None:
    """An operator was told that the task is completed, and the run had gone on without the answer."""
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document({**task(timeoutMs=1_500), "onError": {"policy": "continue"}}), {"id": "x"})
        await run.until("WAITING")
        # Nobody routes its event before the time is over.
        async with db.tenant(TENANT) as conn:
            (found,) = await list_tasks(conn)
            answered = await answer_task(conn, TENANT, found.task_id, {"approved": True}, "anna")
        assert answered.status == "completed"
        result = await run.handle.result()
    assert result["scopes"]["error"]["code"] == "HUMAN_TASK_TIMED_OUT"
    row = await task_row(db)
    assert (row["status"], row["response_data"], row["completed_by"]) == ("expired", {"approved": True}, "anna")
    assert row["completed_at"] == answered.completed_at


async def test_an_answer_that_a_cancelled_run_did_not_take_does_not_say_completed(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(task()), {"id": "x"})
        await run.until("WAITING")
        async with db.tenant(TENANT) as conn:
            (found,) = await list_tasks(conn)
            await answer_task(conn, TENANT, found.task_id, {"approved": True}, "anna")
        await run.handle.cancel()
        await run.until("CANCELED")
    row = await task_row(db)
    assert (row["status"], row["response_data"], row["completed_by"]) == ("canceled", {"approved": True}, "anna")


async def test_the_inbox_has_the_answer_that_the_run_took(db: Database, client: Client) -> None:
    """Of two answers at once it had the other one."""
    async with authored_runtime(db, client) as authored, ingress(db, client):
        run = await authored.start(document(task()), {"id": "x"})
        await run.until("WAITING")
        task_id = (await task_row(db))["task_id"]
        async with db.tenant(TENANT) as conn:
            # What the run takes cannot be written meanwhile.
            await conn.exec_driver_sql("SELECT FROM workflow_runs FOR UPDATE")
            await publish(db, "e1", task_id, event_name="HUMAN_TASK_COMPLETED", payload={"approved": False})
            async with asyncio.timeout(30):
                while not (await run.handle.query(QUERY_SUMMARY))["consumed"]:
                    await asyncio.sleep(0.05)
            async with db.tenant(TENANT) as other:
                await answer_task(other, TENANT, task_id, {"approved": True}, "anna")
        result = await run.handle.result()
    assert result["scopes"]["vars"]["approved"] is False
    row = await task_row(db)
    assert (row["status"], row["response_data"], row["completed_by"]) == ("completed", {"approved": False}, None)


async def test_an_answer_for_no_open_task_is_noted(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        run = await authored.start(document(task()), {"id": "A-1"})
        await run.until("WAITING")
        bodies: list[Any] = [{"taskId": "another", "payload": {}}, {"payload": {}}, "nothing"]
        for body in bodies:
            await run.handle.signal(SIGNAL_HUMAN_TASK, body)
        task_id = (await task_row(db))["task_id"]
        await run.handle.signal(SIGNAL_HUMAN_TASK, {"taskId": task_id, "payload": {"approved": True}})
        await run.handle.result()
    lines = await log_of(run)
    assert sum("no task 'another' is open" in line for line in lines) == 1
    assert sum("its body is no answer" in line for line in lines) == 2


@pytest.mark.parametrize(("begun", "count"), [("now", 2), ("now", 3), ("by a build before", 3)])
async def test_of_answers_that_come_before_their_task_the_first_that_fits_is_taken(
    db: Database, client: Client, begun: str, count: int
) -> None:
    """Only the first one was tried, and the task stayed open with the right answer at hand."""
    config = {"actionId": "test.act", "version": 1, "inputMapping": {"name": "first"}}
    first = {"id": "a", "type": "action.call", "config": config}
    async with authored_runtime(db, client) as authored:
        gate = authored.effects.gates["first"] = asyncio.Event()
        run = await authored.start(document(first, task()), {"id": "A-1"})
        task_id = f"{run.run_id}:root.steps[1]:1"
        payloads = [{"approved": "yes"}, {"approved": True}, {"approved": False}][:count]
        for number, payload in enumerate(payloads):
            answer = {"eventId": f"e{number}", "eventName": "HUMAN_TASK_COMPLETED", "correlationKey": task_id}
            await run.handle.signal(SIGNAL_EVENT, {**answer, "payload": payload})
        with pytest.MonkeyPatch.context() as before:
            if begun != "now":
                before.setattr(driver, "as_executed", lambda state: state)
            while (await run.handle.query(QUERY_SUMMARY))["keptEvents"] < count:
                await asyncio.sleep(0.05)
            gate.set()
            if begun != "now":
                await run.until("WAITING")
                await run.handle.signal(SIGNAL_HUMAN_TASK, {"taskId": task_id, "payload": {"approved": False}})
            async with asyncio.timeout(15):
                result = await run.handle.result()
        # What is open goes on as it began.
        await authored_replayer().replay_workflow(await run.handle.fetch_history())
    assert result["scopes"]["vars"]["approved"] is (begun == "now")
    assert sum("does not fit the task's schema" in line for line in await log_of(run)) == 1


async def test_a_claim_keeps_others_from_answering_until_it_is_taken_over_or_released(
    db: Database, client: Client
) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(task()), {"id": "A", "amount": 1})
        await run.until("WAITING")
        task_id = (await task_row(db))["task_id"]

        async def refused(work: Any, code: str) -> None:
            with pytest.raises(Refused, match=code):
                async with db.tenant(TENANT) as conn:
                    await work(conn)

        async with db.tenant(TENANT) as conn:
            assert (await claim_task(conn, task_id, "anna")).status == "claimed"
            assert (await claim_task(conn, task_id, "anna")).claimed_by == "anna"
        await refused(lambda conn: claim_task(conn, task_id, "bert"), "TASK_CLAIMED")
        await refused(lambda conn: answer_task(conn, TENANT, task_id, {"approved": True}, "bert"), "TASK_CLAIMED")
        await refused(lambda conn: claim_task(conn, "nothing", "bert"), "TASK_NOT_FOUND")
        async with db.tenant(TENANT) as conn:
            assert (await claim_task(conn, task_id, "bert", take_over=True)).claimed_by == "bert"
            assigned = await assign_task(conn, task_id, ["carla"], [])
            assert (assigned.status, assigned.claimed_by, assigned.assigned_users) == ("pending", None, ["carla"])
            await claim_task(conn, task_id, "carla")
            assert (await release_task(conn, task_id, "carla")).claimed_by is None
            await claim_task(conn, task_id, "bert")
        await refused(lambda conn: release_task(conn, task_id, "dora"), "TASK_CLAIMED")
        async with db.tenant(TENANT) as conn:
            assert (await release_task(conn, task_id, "dora", take_over=True)).claimed_by is None
            await claim_task(conn, task_id, "dora")
            await answer_task(conn, TENANT, task_id, {"approved": True}, "dora")
        await refused(lambda conn: claim_task(conn, task_id, "dora"), "TASK_CLOSED")


async def test_a_task_that_is_due_reminds_once_and_plans_the_next(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(task(dueInMs=1)), {"id": "A", "amount": 1})
        await run.until("WAITING")
        reminders = TaskReminders(db)
        await asyncio.sleep(0.05)
        await asyncio.gather(*(reminders.one_pass() for _ in range(3)))
        assert await reminders.one_pass() == 0
        row = await task_row(db)
        (event,) = [
            one for one in await rows(db, "workflow_runtime_events") if one["event_name"] == HUMAN_TASK_REMINDER
        ]
        assert (event["correlation_key"], event["payload"]["reminder"]) == (row["task_id"], 1)
        assert event["payload"]["assignedRoles"] == ["manager"]
        assert (row["reminders"], row["remind_at"] > row["due_date"] + timedelta(hours=23)) == (1, True)
        async with db.tenant(TENANT) as conn:
            await conn.exec_driver_sql("UPDATE workflow_tasks SET remind_at = now(), reminders = 29")
        assert await reminders.one_pass() == 1
        assert (await task_row(db))["remind_at"] is None
        await run.handle.cancel()
        await run.until("CANCELED")


async def test_nobody_is_reminded_of_a_task_whose_time_is_over(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        config = {**task(timeoutMs=1_000, dueInMs=1_001), "onError": {"policy": "continue"}}
        run = await authored.start(document(config), {"id": "A", "amount": 1})
        await run.until("WAITING")
        async with db.tenant(TENANT) as conn:
            # What the run decides cannot be written meanwhile.
            await conn.exec_driver_sql("SELECT FROM workflow_runs FOR UPDATE")
            while datetime.now(UTC) <= (await task_row(db))["due_date"]:
                await asyncio.sleep(0.05)
            assert await TaskReminders(db).one_pass() == 0
            assert (await task_row(db))["remind_at"] is None
        await run.handle.result()
    assert [one["event_name"] for one in await rows(db, "workflow_runtime_events")] == []


async def test_a_reminder_whose_id_is_in_use_is_skipped_and_holds_up_no_other(db: Database, client: Client) -> None:
    """The loop died of it, again after each restart, and took the process with it."""
    async with authored_runtime(db, client) as authored:
        runs = [await authored.start(document(task(dueInMs=1)), {"id": key, "amount": 1}) for key in "AB"]
        for run in runs:
            await run.until("WAITING")
        taken, free = [row["task_id"] for row in await rows(db, "workflow_tasks", order="task_id")]
        async with db.tenant(TENANT) as conn:
            await publish_event(conn, tenant=TENANT, event_id=f"task-reminder:{taken}:1", event_name="MINE")
        await asyncio.sleep(0.05)
        reminders = TaskReminders(db)
        assert await reminders.one_pass() == 1
        assert await reminders.one_pass() == 0
        found = {row["task_id"]: row for row in await rows(db, "workflow_tasks")}
        assert [found[task_id]["reminders"] for task_id in (taken, free)] == [1, 1]
        assert found[taken]["remind_at"] > found[taken]["due_date"] + timedelta(hours=23)
        for run in runs:
            await run.handle.cancel()
            await run.until("CANCELED")


async def test_a_task_without_due_time_never_reminds(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        config = task()
        del config["config"]["dueInMs"]
        run = await authored.start(document(config), {"id": "A", "amount": 1})
        await run.until("WAITING")
        assert (await task_row(db))["remind_at"] is None
        await run.handle.cancel()
        await run.until("CANCELED")


async def test_all_tasks_are_listed_newest_first_however_many_are_closed(
    db: Database, database: MigratedDatabase
) -> None:
    """The oldest came first, so that no list had the newest, and every one was read for it."""
    await write_run(db, a_write(1), EXECUTION)
    closed = text(
        "INSERT INTO workflow_tasks (tenant, task_id, execution_id, step_path, wait_id, task_type, title, status,"
        " created_at) SELECT current_setting('workflows.tenant'), 'task-' || n, :run, 'root.steps[0]', 'wait-' || n,"
        " 'approval', 'Approve', 'completed',"
        " now() + make_interval(secs => n) FROM generate_series(1, 2000) AS n"
    )
    read = text("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'workflow_tasks'")
    async with db.tenant(TENANT) as conn:
        await conn.execute(closed, {"run": RUN})
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        await admin.execute("ANALYZE")
    async with db.tenant(TENANT) as conn:
        found = await list_tasks(conn, open_only=False, limit=3)
        assert [task.task_id for task in found] == ["task-2000", "task-1999", "task-1998"]
        assert (await conn.execute(read)).scalar_one() < 100
        assert await list_tasks(conn) == []
