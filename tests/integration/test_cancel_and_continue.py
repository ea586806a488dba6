"""A cancel, or the moment to continue as new, while something is on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError

from harness.authored import TENANT, Authored, Started, answered_to_nobody, authored_runtime
from harness.databases import MigratedDatabase
from harness.holding import holding
from harness.ingress import ingress
from harness.interpreted import counted, document, wait
from harness.run_records import rows
from harness.short_tasks import with_short_tasks
from workflows_core.execution.policy import RunPolicy
from workflows_core.launching.launcher import Launcher
from workflows_core.redriving.redrive import plan_redrive, redrive
from workflows_core.storage.database import Database
from workflows_core.wire.names import SIGNAL_EVENT, workflow_id_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
PAID = {"eventId": "e1", "eventName": "PAID", "correlationKey": "k1", "payload": {}}


def act(name: str, **fields: Any) -> dict[str, Any]:
    config = {"actionId": "test.act", "version": 1, "inputMapping": {"name": name}, "saveAs": name}
    return {"id": name, "type": "action.call", "config": config, **fields}


def expr(source: str) -> dict[str, str]:
    return {"$expr": source}


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.02)


async def until_a_task_has_heard_of_the_cancel(handle: WorkflowHandle[Any, Any]) -> None:
    told, heard = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    async with asyncio.timeout(30):
        while True:
            kinds = [event.event_type for event in (await handle.fetch_history()).events]
            if told in kinds and heard in kinds[kinds.index(told) :]:
                return
            await asyncio.sleep(0.05)


async def test_a_cancel_while_undoing_is_ignored_and_everything_is_undone(db: Database, client: Client) -> None:
    """The undo that was under way was stopped, nobody asked for it again, and the run never ended."""
    steps = [{**act(name), "onCompensate": [act(f"un{name}")]} for name in ("book", "pay")]
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["bad"] = ["ActionError"]
        gate = authored.effects.gates["unpay"] = asyncio.Event()
        run = await authored.start({**document(*steps, act("bad")), "compensateOn": ["failure"]})
        await until(lambda: authored.effects.count("unpay") == 1)
        await run.handle.cancel()
        await asyncio.sleep(0.5)
        gate.set()
        with pytest.raises(WorkflowFailureError):
            await run.handle.result()
    timeline = await run.timeline()
    assert timeline.run.status == "FAILED"
    assert [name for name, _ in authored.effects.calls] == ["book", "pay", "bad", "unpay", "unbook"]
    assert {line.message for line in timeline.logs if "cancel" in line.message} != set()


@pytest.mark.parametrize("is_last", [False, True])
async def test_what_had_succeeded_before_the_cancel_is_undone_though_the_run_hears_of_both_at_once(
    db: Database, client: Client, is_last: bool
) -> None:
    """The answer was dropped: the step was CANCELED, over the row that said that it had succeeded, and not undone."""
    steps = [act("book", onCompensate=[act("unbook")]), *([] if is_last else [act("never")])]
    run = await answered_to_nobody(db, client, {**document(*steps), "compensateOn": ["cancel"]}, "book")
    await run.handle.cancel()
    async with authored_runtime(db, client) as authored:
        await asyncio.gather(run.handle.result(), return_exceptions=True)
    timeline = await run.timeline()
    # The call of what is the last action has consented to the end that it has written.
    assert timeline.run.status == ("SUCCEEDED" if is_last else "CANCELED")
    assert [name for name, _ in authored.effects.calls] == ([] if is_last else ["unbook"])
    assert [(step.step_path, step.status) for step in timeline.steps][:1] == [("root.steps[0]", "SUCCEEDED")]


async def test_a_child_whose_launch_is_under_way_is_cancelled_though_its_parent_is_too(
    database: MigratedDatabase, db: Database, client: Client
) -> None:
    """The parent ended without writing its end, and the child went on."""
    async with authored_runtime(db, client) as authored, ingress(db, client):
        child, _, _ = await authored.publish(document(wait()))
        call = {
            "type": "control.callWorkflow",
            "workflowId": child,
            "workflowVersion": 1,
            "inputMapping": {"id": expr("payload.id")},
        }
        quick = {"type": "time.wait", "config": {"mode": "duration", "durationMs": 300}}
        branches = [{"steps": [{"id": "c", **call}]}, {"steps": [{"id": "t", **quick}]}]
        async with await psycopg.AsyncConnection.connect(database.admin_url) as held:
            await held.execute("SELECT 1 FROM workflow_definitions WHERE workflow_id = %s FOR UPDATE", [child])
            run = await authored.start(
                document({"type": "control.parallel", "wait": "any", "branches": branches}, wait("NEVER")), {"id": "k1"}
            )
            async with asyncio.timeout(30):
                while [row["event_name"] for row in await rows(db, "workflow_run_waits")] != ["NEVER"]:
                    await asyncio.sleep(0.02)
            await run.handle.cancel()
            await asyncio.sleep(0.5)
        with pytest.raises(WorkflowFailureError):
            await run.handle.result()
        (below,) = [row["run_id"] for row in await rows(db, "workflow_runs") if row["parent_run_id"] is not None]
        await Started(authored, below, client.get_workflow_handle(workflow_id_of(below))).until("CANCELED")
    assert (await run.timeline()).run.status == "CANCELED"


async def test_a_run_that_is_cancelled_before_it_goes_on_undoes_what_it_carries(db: Database, client: Client) -> None:
    """It ended without undoing anything, or, where it went on as a new execution, as a run that was reset."""
    steps = [{**act("book"), "onCompensate": [act("unbook")]}, act("bad"), act("never")]
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["bad"] = ["ActionError"]
        run = await authored.start({**document(*steps), "compensateOn": ["cancel"]})
        with pytest.raises(WorkflowFailureError):
            await run.handle.result()
    planned = await plan_redrive(db, TENANT, run.run_id, "bad")
    await redrive(db, Launcher(db, client), TENANT, planned, "the receiver is back")
    again = client.get_workflow_handle(workflow_id_of(planned.new_run_id))
    await again.cancel()
    async with authored_runtime(db, client) as authored:
        with pytest.raises(WorkflowFailureError) as ended:
            await again.result()
    assert isinstance(ended.value.cause, CancelledError)
    timeline = await Started(authored, planned.new_run_id, again).timeline()
    assert timeline.run.status == "CANCELED"
    assert [name for name, _ in authored.effects.calls] == ["unbook"]
    undoing = "root.steps[0].onCompensate.steps[0]"
    assert {step.step_path: step.status for step in timeline.steps} == {
        "root.steps[0]": "SUCCEEDED",
        "root.steps[1]": "CANCELED",
        undoing: "SUCCEEDED",
    }


async def test_a_run_that_is_cancelled_while_it_is_loaded_undoes_what_it_carries(
    database: MigratedDatabase, db: Database, client: Client
) -> None:
    """It ended without undoing anything, and said that it had no definition."""
    steps = [{**act("book"), "onCompensate": [act("unbook")]}, act("bad"), act("never")]
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["bad"] = ["ActionError"]
        run = await authored.start({**document(*steps), "compensateOn": ["cancel"]})
        with pytest.raises(WorkflowFailureError):
            await run.handle.result()
    planned = await plan_redrive(db, TENANT, run.run_id, "bad")
    await redrive(db, Launcher(db, with_short_tasks(client)), TENANT, planned, "the receiver is back")
    again = client.get_workflow_handle(workflow_id_of(planned.new_run_id))
    async with AsyncExitStack() as locking:
        held = await locking.enter_async_context(holding(database, "LOCK TABLE workflow_definition_versions"))
        async with authored_runtime(db, client) as authored:
            await held.waiting(1)
            await again.cancel()
            await until_a_task_has_heard_of_the_cancel(again)
            await locking.aclose()
            with pytest.raises(WorkflowFailureError) as ended:
                await again.result()
    assert isinstance(ended.value.cause, CancelledError)
    assert [name for name, _ in authored.effects.calls] == ["unbook"]


async def test_a_run_whose_version_was_altered_while_it_was_open_says_so_and_leaves_nothing_open(
    database: MigratedDatabase, db: Database, client: Client
) -> None:
    """It ended as a run that was reset: its row, its waits and its child stayed open, what it had taken was lost."""
    policy = RunPolicy(continue_after_steps=5)
    async with authored_runtime(db, client, policy=policy) as authored, ingress(db, client):
        below, _, _ = await authored.publish(document(wait()))
        child = {"type": "control.callWorkflow", "workflowId": below, "workflowVersion": 1}
        child["inputMapping"] = {"id": expr("'of the child'")}
        book = {**act("book"), "onCompensate": [act("unbook")]}
        branches = [{"steps": [{"id": "c", **child}]}, {"steps": [{"id": "w", **wait()}, {"id": "n", **counted(10)}]}]
        steps = document(book, {"type": "control.parallel", "branches": branches}, wait("NEVER"))
        run = await authored.start({**steps, "compensateOn": ["failure"]}, {"id": "k1"})
        async with asyncio.timeout(30):
            while len(await rows(db, "workflow_run_waits")) != 3:
                await asyncio.sleep(0.02)
        async with await psycopg.AsyncConnection.connect(database.admin_url) as conn:
            altered = "UPDATE workflow_runs SET definition_hash = repeat('0', 64) WHERE run_id = %s"
            await conn.execute(altered, [run.run_id])
        await run.handle.signal(SIGNAL_EVENT, PAID)
        with pytest.raises(WorkflowFailureError):
            await client.get_workflow_handle(run.handle.id).result()
        (child_id,) = [row["run_id"] for row in await rows(db, "workflow_runs") if row["parent_run_id"] is not None]
        await Started(authored, child_id, client.get_workflow_handle(workflow_id_of(child_id))).until("CANCELED")
    timeline = await run.timeline()
    error = timeline.run.error_json or {}
    assert (timeline.run.status, error["code"]) == ("FAILED", "DEFINITION_ALTERED")
    assert sorted(row["status"] for row in await rows(db, "workflow_run_waits")) == ["CANCELED", "CANCELED", "RESOLVED"]
    assert [line.message for line in timeline.logs if line.level == "ERROR"] == [
        "without its definition the run undoes nothing; what has steps that undo it: root.steps[0]"
    ]


async def test_a_loop_whose_steps_cost_much_continues_as_new_as_often_as_any(db: Database, client: Client) -> None:
    """What a workflow task had left over kept the run from ever continuing: its history grew without end."""
    again = counted(300, **{f"m{number}": "vars.n" for number in range(4)})
    async with authored_runtime(db, client, policy=RunPolicy(continue_after_steps=100)) as authored:
        run = await authored.start(document(again))
        result = await run.handle.result()
    assert result["scopes"]["vars"]["n"] == 300
    assert (await run.timeline()).run.generation >= 3


async def test_a_loop_of_few_costly_steps_continues_before_a_replay_of_it_takes_long(
    db: Database, client: Client
) -> None:
    """A history of a thousand steps may take a thousand patterns to replay, all in one workflow task."""
    async with authored_runtime(db, client, policy=RunPolicy(continue_after_effort=100)) as authored:
        run = await authored.start(document(counted(20, has="$contains('ab', /b/)")))
        result = await run.handle.result()
    assert result["scopes"]["vars"]["n"] == 20
    # A pass costs 18, since a pattern counts as 16, and a workflow task has four of them: an execution has eight.
    assert (await run.timeline()).run.generation == 2


async def test_a_run_whose_texts_are_full_of_quotes_goes_on_as_a_new_execution(db: Database, client: Client) -> None:
    """Within its limit as JSON, in a text inside JSON they were too much for Temporal: the run stood still for ever."""
    source = {"$expr": "$join([1..100].($$.payload.quotes), '')"}
    assign = {f"vars.t{number}": source for number in range(5)} | {"vars.last": expr("payload.quotes")}
    large = {"id": "large", "type": "transform.assign", "config": {"assign": assign}}
    async with authored_runtime(db, client, policy=RunPolicy(continue_after_steps=5)) as authored:
        lengths = {"id": "end", "type": "control.return", "value": expr("$length(vars.t4)")}
        kept = {**PAID, "payload": '"' * 20_000}
        run = await authored.start(document(large, counted(60), lengths), {"quotes": '"' * 1_035}, signal=kept)
        result = await client.get_workflow_handle(run.handle.id).result()
    assert result["result"] == 103_500
    assert (await run.timeline()).run.generation > 0


@pytest.mark.parametrize(("limit", "goes_on"), [(10, True), (2, False)], ids=["due", "overdue"])
async def test_waits_are_there_while_a_long_action_holds_up_a_continue(
    db: Database, client: Client, limit: int, goes_on: bool
) -> None:
    """Events could not find them, and yet they timed out. New calls are held only once the run is overdue."""
    loop = {
        "id": "loop",
        "type": "control.forEach",
        "items": expr("[1..12]"),
        "itemVar": "x",
        "body": [{"id": "st", "type": "state.set", "config": {"state": "S"}}],
    }
    pause = {"id": "pause", "type": "time.wait", "config": {"mode": "duration", "durationMs": 500}}
    waiting = {"id": "w", **wait(timeoutMs=60_000)}
    branches = [{"steps": [act("slow")]}, {"steps": [pause, loop, waiting, act("after")]}]
    async with authored_runtime(db, client, policy=RunPolicy(continue_after_steps=limit)) as authored:
        gate = authored.effects.gates["slow"] = asyncio.Event()
        parallel = {"type": "control.parallel", "branches": branches}
        run = await authored.start(document(parallel, act("last")), {"id": "k1"})
        async with asyncio.timeout(15):
            while [row["status"] for row in await rows(db, "workflow_run_waits")] != ["WAITING"]:
                await asyncio.sleep(0.02)
        await run.handle.signal(SIGNAL_EVENT, PAID)
        if goes_on:
            await until(lambda: authored.effects.count("after") == 1)
        else:
            await asyncio.sleep(1)
            assert authored.effects.count("after") == 0
        gate.set()
        await client.get_workflow_handle(run.handle.id).result()
    timeline = await run.timeline()
    assert (timeline.run.status, timeline.run.generation > 0) == ("SUCCEEDED", True)
    assert _names(authored) == ["after", "last", "slow"]


async def test_a_history_that_grows_large_beside_a_long_action_calls_nothing_new_until_it_has_continued(
    db: Database, client: Client
) -> None:
    """Temporal ends a run whose history has 50 MiB; steps, signals and events did not tell of large ones."""
    config = {"actionId": "test.act", "version": 1, "inputMapping": {"name": "one", "text": expr("payload.text")}}
    loop = counted(120, {"id": "one", "type": "action.call", "config": config})
    async with authored_runtime(db, client) as authored:
        gate = authored.effects.gates["slow"] = asyncio.Event()
        parallel = {"type": "control.parallel", "branches": [{"steps": [act("slow")]}, {"steps": [loop]}]}
        run = await authored.start(document(parallel), {"text": "x" * 240 * 1024})
        called = -1
        async with asyncio.timeout(60):
            while called < authored.effects.count("one") or called < 60:
                called = authored.effects.count("one")
                await asyncio.sleep(1)
        assert called < 110
        gate.set()
        await client.get_workflow_handle(run.handle.id).result()
    assert authored.effects.count("one") == 120
    assert (await run.timeline()).run.generation > 0


def _names(authored: Authored) -> list[str]:
    return sorted(name for name, _ in authored.effects.calls)


async def test_a_wait_beside_an_action_is_there_before_the_action_ends(db: Database, client: Client) -> None:
    """It came with the end of the action: a task was in nobody's inbox, and an event found no wait, for that long."""
    task = {"id": "t", "type": "human.task", "config": {"taskType": "approve", "title": expr("'Please'")}}
    branches = [{"steps": [act("slow")]}, {"steps": [{"id": "w", **wait()}]}, {"steps": [task]}]
    async with authored_runtime(db, client) as authored:
        gate = authored.effects.gates["slow"] = asyncio.Event()
        run = await authored.start(
            document({"type": "control.parallel", "wait": "any", "branches": branches}), {"id": "k"}
        )
        await until(lambda: authored.effects.count("slow") == 1)
        async with asyncio.timeout(15):
            while sorted(row["wait_type"] for row in await rows(db, "workflow_run_waits")) != ["event", "human"]:
                await asyncio.sleep(0.02)
        gate.set()
        await run.handle.result()
    assert {row["status"] for row in await rows(db, "workflow_run_waits")} == {"CANCELED"}
