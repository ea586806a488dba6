"""A run that somebody resets with Temporal's own tools: it ends, does nothing again, and its row says so."""

from __future__ import annotations

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from harness.authored import authored_runtime
from harness.interpreted import act, counted, document, wait
from harness.repairs import reconciler, reset
from harness.run_records import rows
from workflows_core.execution.policy import RunPolicy
from workflows_core.storage.database import Database
from workflows_core.wire.names import SIGNAL_EVENT

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_run_that_was_reset_says_so_in_its_row(db: Database, client: Client) -> None:
    """Its row said that nobody knew why it had failed, and what it had done."""
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(wait()), {"id": "k1"})
        await run.until("WAITING")
        with pytest.raises(WorkflowFailureError):
            await (await reset(client, run)).result()
        assert await reconciler(db, client).one_pass() == {"ended": 1}
        timeline = await run.timeline()
    error = timeline.run.error_json or {}
    assert (timeline.run.status, error["category"], error["code"]) == ("FAILED", "RunReset", "RUN_RESET")
    assert f"run {run.run_id} was reset; a run that was reset with Temporal's own tools is refused" in error["message"]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_reset_undoes_nothing_of_a_run_that_has_succeeded(
    db: Database, client: Client, cancelled: bool
) -> None:
    """Its refused execution had failed, as the definition asks for, and undid what the run had done."""
    book, unbook = [act(mapping={"name": name}, id=name) for name in ("book", "unbook")]
    async with authored_runtime(db, client) as authored:
        once = {"type": "action.call", "config": {"actionId": "test.once", "version": 1}}
        steps = [{**book, "onCompensate": [unbook]}, wait(timeoutMs=500) if cancelled else once, act()]
        steps[1]["onError"] = {"policy": "continue"}
        run = await authored.start({**document(*steps), "compensateOn": ["failure", "cancel"]}, {"id": "k1"})
        await run.handle.result()
        # Where it has just begun to wait, and can be cancelled, or before a call that is known to have ended.
        again = await reset(client, run, task=2 if cancelled else 1)
        if cancelled:
            await again.cancel()
        with pytest.raises(WorkflowFailureError) as failed:
            await again.result()
        status = (await run.timeline()).run.status
    assert isinstance(failed.value.cause, ApplicationError)
    assert (status, failed.value.cause.type) == ("SUCCEEDED", "WorkflowRuntimeV2.RunReset")
    assert authored.effects.count("unbook") == 0


async def test_a_reset_starts_no_child_that_undoes(db: Database, client: Client) -> None:
    """It was asked of an action alone: a child run that undoes was started, and undid what had succeeded."""
    async with authored_runtime(db, client) as authored:
        child, _, _ = await authored.publish(document(act(mapping={"name": "unbook"})))
        unbook = {"id": "unbook", "type": "control.callWorkflow", "workflowId": child, "workflowVersion": 1}
        waits = {**wait(timeoutMs=500), "onError": {"policy": "continue"}}
        steps = [act(mapping={"name": "book"}, onCompensate=[unbook]), waits, act()]
        run = await authored.start({**document(*steps), "compensateOn": ["cancel"]}, {"id": "k1"})
        await run.handle.result()
        again = await reset(client, run, task=2)
        await again.cancel()
        with pytest.raises(WorkflowFailureError) as failed:
            await again.result()
        started = [row["run_id"] for row in await rows(db, "workflow_runs")]
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "WorkflowRuntimeV2.RunReset"
    assert (started, authored.effects.count("unbook")) == ([run.run_id], 0)


async def test_a_reset_repeats_one_call_at_most_of_what_the_run_had_done(db: Database, client: Client) -> None:
    """It repeated all of them, each under its key, and was refused at the end."""
    names = ["a", "b", "c", "d"]
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(*(act(mapping={"name": name}) for name in names)))
        await run.handle.result()
        with pytest.raises(WorkflowFailureError) as failed:
            await (await reset(client, run, task=1)).result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "WorkflowRuntimeV2.RunReset"
    assert [authored.effects.count(name) for name in names] == [1, 2, 1, 1]


async def test_a_reset_that_continues_as_new_before_it_writes_is_refused(db: Database, client: Client) -> None:
    """It went on as a later execution of the run, also of one that was CANCELED, whose steps it did."""
    steps = [wait(), counted(9), act(mapping={"name": "behind"})]
    async with authored_runtime(db, client, policy=RunPolicy(continue_after_steps=5)) as authored:
        run = await authored.start(document(*steps), {"id": "k1"})
        await run.until("WAITING")
        # The write of the wait is in the history that the reset goes by.
        again = await reset(client, run, task=1)
        body = {"eventId": "e1", "eventName": "PAID", "correlationKey": "k1", "payload": {}}
        await again.signal(SIGNAL_EVENT, body)
        with pytest.raises(WorkflowFailureError) as failed:
            await again.result()
        assert (await reconciler(db, client).one_pass()) == {"ended": 1}
        timeline = await run.timeline()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "WorkflowRuntimeV2.RunReset"
    assert [step.status for step in timeline.steps] == ["CANCELED"]
    assert (timeline.run.generation, (timeline.run.error_json or {})["code"]) == (0, "RUN_RESET")
    assert authored.effects.count("behind") == 0
