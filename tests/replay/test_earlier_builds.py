"""What builds from before a change have begun goes on as it began: the change is asked of the history."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowHandle, WorkflowHistory

from harness.authored import TENANT, answered_to_nobody, authored_runtime
from harness.ingress import ingress
from harness.interpreted import document, wait
from harness.repairs import reset
from harness.scheduled import held_up
from harness.short_tasks import with_short_tasks
from replay import record
from workflows_core.actions.action import Action, Effect
from workflows_core.execution import driver, options, scheduled_launch
from workflows_core.execution.policy import RunPolicy
from workflows_core.execution.run_ends import PATCH_RESET_UNDOES_NOTHING
from workflows_core.execution.shielding import PATCH_ANSWERS_BEFORE_A_CANCEL, PATCH_CANCELLED_WHILE_READING
from workflows_core.execution.short_calls import PATCH_LOST_IS_REGULAR
from workflows_core.execution.worker import authored_replayer
from workflows_core.execution.workflow import PATCH_SHALLOW_SIGNALS
from workflows_core.launching.launcher import Launcher
from workflows_core.redriving.redrive import plan_redrive, redrive
from workflows_core.storage.database import Database
from workflows_core.wire import names

pytestmark = pytest.mark.asyncio(loop_scope="session")
Scenario = Callable[[Database, Client], Awaitable[WorkflowHistory]]


async def ended(handle: WorkflowHandle[Any, Any]) -> WorkflowHistory:
    await asyncio.gather(handle.result(), return_exceptions=True)
    return await handle.fetch_history()


async def wait_beside_action(db: Database, client: Client) -> WorkflowHistory:
    """The action is called before a write has told of the wait."""
    async with authored_runtime(db, client) as authored:
        return await ended((await record.wait_beside_action(authored)).handle)


async def deep_signal(db: Database, client: Client) -> WorkflowHistory:
    """What is deeper than any event resolves a wait."""
    body = {"eventId": "e1", "eventName": "PAID", "correlationKey": "k1"}
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(wait("PAID", "payload.id")), {"id": "k1"})
        await run.until("WAITING")
        payload = json.loads('{"a":' * 101 + "1" + "}" * 101)
        await run.handle.signal(names.SIGNAL_EVENT, {**body, "payload": payload})
        return await ended(run.handle)


async def cancelled_before_it_is_loaded(db: Database, client: Client) -> WorkflowHistory:
    """What an execution carries is not undone."""
    undo = {"onCompensate": [record.act("undo", id="undo")]}
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["bad"] = ["ActionError"]
        steps = [record.act("book", id="book") | undo, record.act("bad", id="bad")]
        run = await authored.start({**document(*steps), "compensateOn": ["cancel"]})
        await ended(run.handle)
    planned = await plan_redrive(db, TENANT, run.run_id, "bad")
    await redrive(db, Launcher(db, client), TENANT, planned, "the receiver is back")
    again = client.get_workflow_handle(names.workflow_id_of(planned.new_run_id))
    await again.cancel()
    async with authored_runtime(db, client):
        return await ended(again)


async def somebody_waits(db: Database) -> bool:
    ours = "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()"
    async with db.narrow() as conn:
        return (await conn.exec_driver_sql(f"{ours} WHERE NOT l.granted")).first() is not None


async def cancelled_while_it_is_asked_who_serves(db: Database, client: Client) -> WorkflowHistory:
    """The step fails by the cancel, and the run with it."""
    async with authored_runtime(db, with_short_tasks(client)) as authored:
        undo = {"onCompensate": [record.act("undo", id="undo")]}
        nobodys = {"type": "action.call", "config": {"actionId": "app.draft", "version": 1, "inputMapping": {}}}
        run = await authored.start(
            {**document(record.act("book", id="book") | undo, nobodys), "compensateOn": ["cancel"]}
        )
        while not (await run.timeline()).logs:
            await asyncio.sleep(0.02)
        async with held_up(db, "workflow_processes"):
            while not await somebody_waits(db):
                await asyncio.sleep(0.02)
            await run.handle.cancel()
            return await ended(run.handle)


async def cancelled_when_its_action_had_answered(db: Database, client: Client) -> WorkflowHistory:
    """The answer is dropped, and the step is not undone."""
    steps = [record.act("book", id="book") | {"onCompensate": [record.act("undo", id="undo")]}, record.act("never")]
    run = await answered_to_nobody(db, client, {**document(*steps), "compensateOn": ["cancel"]}, "book")
    await run.handle.cancel()
    async with authored_runtime(db, client):
        return await ended(run.handle)


async def short_call_that_nobody_answers(db: Database, client: Client) -> WorkflowHistory:
    """Its step fails."""

    async def linger(*_: Any) -> Any:
        await asyncio.sleep(0.3)

    def pack() -> Sequence[Action]:
        anything = {"type": "object"}
        return [
            Action("bad.long", 1, linger, anything, anything, "Long.", effect=Effect.PURE, timeout_ms=500, short=True)
        ]

    with pytest.MonkeyPatch.context() as impatient:
        impatient.setattr(options, "_SHORT_LIMIT", timedelta(seconds=0.1))
        async with authored_runtime(db, client, policy=RunPolicy(call_ahead=False), more={"bad": pack}) as authored:
            long = {"type": "action.call", "config": {"actionId": "bad.long", "version": 1, "inputMapping": {}}}
            return await ended((await authored.start(document(long))).handle)


async def reset_that_is_refused(db: Database, client: Client) -> WorkflowHistory:
    """It undoes what it had done, as far as that is not refused."""
    async with authored_runtime(db, client) as authored:
        steps = [record.act("book", id="book") | {"onCompensate": [record.act("undo", id="undo")]}, record.act("b")]
        run = await authored.start({**document(*steps, record.act("c")), "compensateOn": ["failure"]})
        await ended(run.handle)
        return await ended(await reset(client, run, task=1))


async def launch_that_looks_twice(db: Database, client: Client) -> WorkflowHistory:
    """It is told of the run's end while it looks; the second time, the run has ended."""
    async with authored_runtime(db, client) as authored, ingress(db, client):
        return await ended((await record.scheduled_launch_told(authored)).handle)


@pytest.mark.parametrize(
    ("change", "scenario"),
    [
        (driver.PATCH_WAITS_FIRST, wait_beside_action),
        (driver.PATCH_ENDS_WHAT_IT_CARRIES, cancelled_before_it_is_loaded),
        (PATCH_CANCELLED_WHILE_READING, cancelled_while_it_is_asked_who_serves),
        (PATCH_ANSWERS_BEFORE_A_CANCEL, cancelled_when_its_action_had_answered),
        (PATCH_LOST_IS_REGULAR, short_call_that_nobody_answers),
        (PATCH_RESET_UNDOES_NOTHING, reset_that_is_refused),
        (PATCH_SHALLOW_SIGNALS, deep_signal),
        (scheduled_launch.PATCH_TOLD_WHILE_LOOKING, launch_that_looks_twice),
        (scheduled_launch.PATCH_BEGINS_ANEW, launch_that_looks_twice),
    ],
)
async def test_what_a_build_before_a_change_began_goes_on_as_it_began(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch, change: str, scenario: Scenario
) -> None:
    """The history is recorded without what the change added, and with it the replay would ask for something else."""
    known = workflow.patched
    if change == scheduled_launch.PATCH_BEGINS_ANEW:
        monkeypatch.setattr(scheduled_launch, "LOOKS_OF_ONE_HISTORY", 1)
    with pytest.MonkeyPatch.context() as before:
        before.setattr(workflow, "patched", lambda name: name != change and known(name))
        history = await scenario(db, client)
    assert change not in str(history.events)
    result = await authored_replayer().replay_workflow(history, raise_on_replay_failure=False)
    assert result.replay_failure is None
    with monkeypatch.context() as always:
        always.setattr(workflow, "patched", lambda name: name == change or known(name))
        result = await authored_replayer().replay_workflow(history, raise_on_replay_failure=False)
    assert result.replay_failure is not None, "the scenario does not come to where the change is"
