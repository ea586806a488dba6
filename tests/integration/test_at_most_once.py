"""What may have happened is not repeated, and calls with one idempotency key leave each other's runs alone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError

from harness.authored import TENANT, Authored, Started, authored_runtime
from harness.interpreted import document
from harness.run_records import rows
from workflows_core.execution.regular_action import RegularAction
from workflows_core.launching.launcher import Launcher
from workflows_core.redriving.redrive import plan_redrive, redrive
from workflows_core.storage.database import Database
from workflows_core.wire.names import workflow_id_of
from workflows_core.wire.records import StepRecord

pytestmark = pytest.mark.asyncio(loop_scope="session")
MARK = {"id": "mark", "type": "state.set", "config": {"state": "S"}}


def call(action: str, **fields: Any) -> dict[str, Any]:
    config = {"actionId": action, "version": 1, "inputMapping": {"name": "x"}, "saveAs": "x"}
    return {"id": "x", "type": "action.call", "config": {**config, **fields.pop("config", {})}, **fields}


async def ended(run: Started) -> tuple[str, dict[str, str]]:
    """The run's status and its steps', once it has ended."""
    with suppress(WorkflowFailureError):
        await run.handle.result()
    timeline = await run.timeline()
    return timeline.run.status, {step.step_path: step.status for step in timeline.steps}


async def until_called(authored: Authored, times: int) -> None:
    async with asyncio.timeout(30):
        while authored.effects.count("x") < times:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("behind", [[], [{**MARK, "id": "m2"}, {**call("test.act"), "id": "y"}]], ids=["last", "first"])
async def test_a_run_whose_key_another_run_took_meanwhile_records_what_it_did(
    db: Database, client: Client, behind: list[dict[str, Any]]
) -> None:
    """Its step stayed STARTED in a run that had SUCCEEDED, and the step before it was nowhere."""
    async with authored_runtime(db, client) as authored:
        authored.effects.gates["x"] = asyncio.Event()
        keyed = document(MARK, call("test.act", config={"idempotencyKey": {"$expr": "'k'"}}), *behind)
        first = await authored.start(keyed)
        await until_called(authored, 1)
        second = await authored.start(keyed)
        await until_called(authored, 2)
        authored.effects.gates["x"].set()
        for run in (first, second):
            status, steps = await ended(run)
            assert (status, set(steps.values()), len(steps)) == ("SUCCEEDED", {"SUCCEEDED"}, 2 + len(behind))
            timeline = await run.timeline()
            assert [s.output_json["name"] for s in timeline.steps if s.step_path == "root.steps[1]"] == ["x"]


async def test_a_call_that_has_succeeded_answers_every_later_one_with_its_key(db: Database, client: Client) -> None:
    """docs/language.md promises it for every action, not for at-most-once ones alone."""
    keyed = document(MARK, call("test.act", config={"idempotencyKey": {"$expr": "'k'"}}))
    async with authored_runtime(db, client) as authored:
        for _ in range(2):
            run = await authored.start(keyed)
            assert await ended(run) == ("SUCCEEDED", {"root.steps[0]": "SUCCEEDED", "root.steps[1]": "SUCCEEDED"})
            (answered,) = [s for s in (await run.timeline()).steps if s.step_path == "root.steps[1]"]
            assert answered.output_json == {"name": "x", "calls": 1}
        assert authored.effects.count("x") == 1


async def test_a_call_that_is_under_way_elsewhere_is_not_repeated_by_a_later_one(db: Database, client: Client) -> None:
    """The second run's failure hid the first one's success, and the third did it once more."""
    keyed = document(MARK, call("test.once", config={"idempotencyKey": {"$expr": "'k'"}}))
    async with authored_runtime(db, client) as authored:
        gate = authored.effects.gates["x"] = asyncio.Event()
        first = await authored.start(keyed)
        await until_called(authored, 1)
        status, steps = await ended(second := await authored.start(keyed))
        assert (status, steps["root.steps[1]"]) == ("FAILED", "FAILED")
        error = (await second.timeline()).run.error_json or {}
        assert error["code"] == "UNKNOWN_OUTCOME"
        assert "another call of test.once@1 with this idempotency key is under way" in error["message"]
        gate.set()
        assert await ended(first) == ("SUCCEEDED", {"root.steps[0]": "SUCCEEDED", "root.steps[1]": "SUCCEEDED"})
        assert (await ended(await authored.start(keyed)))[0] == "SUCCEEDED"
        assert authored.effects.count("x") == 1


async def test_a_retry_does_not_repeat_what_may_have_happened_and_a_redrive_does(db: Database, client: Client) -> None:
    """`maxAttempts` repeated it, though the message said that it is not repeated."""
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["x"] = ["UnknownOutcome"]
        retry = {"maxAttempts": 3, "backoffMs": 1, "jitter": False}
        run = await authored.start(document(MARK, call("test.once", retry=retry)))
        assert await ended(run) == ("FAILED", {"root.steps[0]": "SUCCEEDED", "root.steps[1]": "FAILED"})
        error = (await run.timeline()).run.error_json or {}
        assert (error["category"], error["code"]) == ("UnknownOutcome", "SCRIPTED")
        assert authored.effects.count("x") == 1
        planned = await plan_redrive(db, TENANT, run.run_id, "x")
        await redrive(db, Launcher(db, client), TENANT, planned, "the receiver has nothing of it")
        again = client.get_workflow_handle(workflow_id_of(planned.new_run_id))
        assert (await ended(Started(authored, planned.new_run_id, again)))[0] == "SUCCEEDED"
        assert authored.effects.count("x") == 2


async def test_a_call_that_is_answered_again_leaves_the_times_of_its_step(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that had stood still moved the begin of a step behind that of the next one."""
    settle = RegularAction._settle
    times: list[dict[str, Any]] = []

    async def losing(self: RegularAction, step: StepRecord) -> bool:
        settled = await settle(self, step)
        if not times:
            times.extend(await rows(db, "workflow_run_steps"))
            raise ConnectionError("the answer was lost")
        return settled

    monkeypatch.setattr(RegularAction, "_settle", losing)
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(call("test.act"), call("test.act", config={"saveAs": "y"}) | {"id": "y"}))
        assert (await ended(run))[0] == "SUCCEEDED"
        [found] = [row for row in await rows(db, "workflow_run_steps") if row["step_path"] == "root.steps[0]"]
    [told] = times
    assert (found["started_at"], found["completed_at"]) == (told["started_at"], told["completed_at"])
