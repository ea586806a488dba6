"""What comes between a last action and its run: the row and Temporal tell the same end, whatever it is."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import Client, WorkflowHistory

from harness.authored import TENANT, authored_runtime
from harness.interpreted import document, wait
from harness.last_actions import (
    Stubborn,
    act,
    act_alone,
    activities,
    assign,
    cancel_heard,
    ended,
    expr,
    held_behind_the_end,
    losing,
    scheduled,
    under_way,
)
from workflows_core.actions.action import Action, Effect
from workflows_core.execution import options
from workflows_core.execution.worker import authored_replayer
from workflows_core.storage import last_actions
from workflows_core.storage.database import Database
from workflows_core.wire.names import QUERY_SUMMARY, SIGNAL_EVENT

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("unhurried")]


async def test_a_cancel_before_the_end_cancels_and_the_action_ends_nothing_later(db: Database, client: Client) -> None:
    stubborn = Stubborn()
    async with authored_runtime(db, client, more={"stubborn": stubborn.pack}) as authored:
        run = await authored.start(document(act("one"), act("two", "stubborn.act"), assign("n", "two.calls")))
        await stubborn.begun.wait()
        await run.handle.cancel()
        assert await ended(run) == "CancelledError"
        await stubborn.end(db)
        timeline = await run.timeline()
    assert timeline.run.status == "CANCELED"
    assert [(s.step_path, s.status) for s in timeline.steps] == [
        ("root.steps[0]", "SUCCEEDED"),
        ("root.steps[1]", "CANCELED"),
    ]


async def test_a_cancel_behind_the_end_changes_nothing(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with authored_runtime(db, client) as authored, held_behind_the_end(monkeypatch) as (written, _):
        run = await authored.start(document(act("one"), assign("n", "one.calls + $millis()")))
        await written.wait()
        await run.handle.cancel()
        result = await ended(run)
        assert await activities(run) == ["RunLastAction", "RevokeLastAction"]
        timeline = await run.timeline()
    assert (timeline.run.status, timeline.run.result_json) == ("SUCCEEDED", result)


def given_up_after_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """By Temporal; an action has ten minutes, and `test.act` may be silent for three seconds of them."""
    monkeypatch.setattr(options, "_TIME_OUT_MARGIN", timedelta(seconds=2 - 600 - 3))


async def test_a_time_out_behind_the_end_changes_nothing(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up_after_two_seconds(monkeypatch)
    async with authored_runtime(db, client) as authored, held_behind_the_end(monkeypatch):
        run = await authored.start(document(act("one", onError={"policy": "continue"}), assign("n", "one.calls")))
        result = await ended(run)
        assert await activities(run) == ["RunLastAction", "RevokeLastAction"]
        timeline = await run.timeline()
    assert (timeline.run.status, timeline.run.result_json) == ("SUCCEEDED", result)
    assert [s.status for s in timeline.steps] == ["SUCCEEDED", "SUCCEEDED"]


async def test_a_cancel_while_the_run_asks_for_the_end_changes_nothing(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up_after_two_seconds(monkeypatch)
    async with authored_runtime(db, client) as authored, held_behind_the_end(monkeypatch) as (written, _):
        run = await authored.start(document(act("one")))
        await written.wait()
        async with db.tenant(TENANT) as conn:
            # What the run asks waits for this, and the cancel is there before it is answered.
            await conn.execute(text("SELECT 1 FROM workflow_runs WHERE run_id = :id FOR UPDATE"), {"id": run.run_id})
            while "RevokeLastAction" not in await scheduled(run):
                await asyncio.sleep(0.05)
            await run.handle.cancel()
            await cancel_heard(run.handle)
        result = await ended(run)
        timeline = await run.timeline()
    assert (timeline.run.status, timeline.run.result_json) == ("SUCCEEDED", result)


ORDERED: dict[str, dict[str, Any]] = {
    "a result": {"id": "end", "type": "control.return", "value": expr("$string(one)")},
    "a failure": {
        "id": "if",
        "type": "control.if",
        "condition": expr("$keys(one)[0] = 'b'"),
        "then": [assign("n", "1 + 'x'")],
    },
}


def ordered() -> Sequence[Action]:
    """`ordered.give@1`, whose output PostgreSQL keeps in another order."""

    async def give(*_: Any) -> Any:
        return {"b": 1, "a": 2}

    anything = {"type": "object"}
    return [Action("ordered.give", 1, give, anything, anything, "Gives.", effect=Effect.IDEMPOTENT)]


@pytest.mark.parametrize("case", ORDERED)
@pytest.mark.parametrize("how", ["a cancel", "a lost answer"])
async def test_an_end_that_is_found_is_taken_as_it_is(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch, how: str, case: str
) -> None:
    """Not computed anew: what is stored of the output has another order than what the action gave."""
    steps = [act("one", "ordered.give"), ORDERED[case]]
    async with authored_runtime(db, client, more={"ordered": ordered}) as authored:
        if how == "a cancel":
            async with held_behind_the_end(monkeypatch) as (written, _):
                run = await authored.start(document(*steps))
                await written.wait()
                await run.handle.cancel()
                result = await ended(run)
        else:
            losing(monkeypatch)
            run = await authored.start(document(*steps))
            result = await ended(run)
        assert await activities(run) == ["RunLastAction", *(["RevokeLastAction"] if how == "a cancel" else [])]
        timeline = await run.timeline()
    if case == "a result":
        assert result == timeline.run.result_json
        assert result["result"] == '{"b":1,"a":2}'
    else:
        assert (result, timeline.run.status) == ("WorkflowRuntimeV2.ExpressionError", "FAILED")


async def test_a_wait_behind_a_failure_leaves_the_end_to_the_run(db: Database, client: Client) -> None:
    """It may take an event that only the run has kept."""
    heard = wait("GO", "'k'", assign={"vars.who": expr("'the event'")})
    branches = [{"steps": [{"id": "w", **heard}]}, {"steps": [assign("who", "'the other branch'")]}]
    caught = {"id": "p", "type": "control.parallel", "wait": "any", "branches": branches}
    steps = {"id": "try", "type": "control.tryCatch", "try": [act("one"), assign("n", "1 + 'x'")], "catch": [caught]}
    async with authored_runtime(db, client) as authored:
        run, gate = await under_way(authored, document(steps))
        signal = {"eventId": "e1", "eventName": "GO", "correlationKey": "k", "payload": {}}
        await run.handle.signal(SIGNAL_EVENT, signal)
        gate.set()
        result = await run.handle.result()
        assert await activities(run) == ["RunLastAction", "FinishRun"]
        timeline = await run.timeline()
    assert result["scopes"]["vars"]["who"] == "the event"
    assert timeline.run.result_json == result


async def test_what_the_run_notes_beside_its_last_action_is_told(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run, gate = await under_way(authored, document(act("one")))
        await run.handle.signal(SIGNAL_EVENT, {"eventId": "e", "eventName": 7})
        await run.handle.query(QUERY_SUMMARY)
        gate.set()
        await run.handle.result()
        assert await activities(run) == ["RunLastAction", "FinishRun"]
        timeline = await run.timeline()
    assert timeline.run.status == "SUCCEEDED"
    assert [line.level for line in timeline.logs] == ["WARN"]


async def test_an_end_that_cannot_be_written_leaves_the_action_recorded(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its handler would run again for a fault that is not its own."""

    async def failing(conn: AsyncConnection, *_: Any) -> bool:
        await conn.execute(text("SELECT 1 / 0"))
        return True

    monkeypatch.setattr(last_actions, "complete_last", failing)
    async with authored_runtime(db, client) as authored:
        assert await act_alone(authored) == ["RunLastAction", "FinishRun"]
        assert authored.effects.count("one") == 1


@pytest.mark.parametrize("what", ["SUPPORTED_SEMANTICS", "compiled_plan"])
async def test_a_process_that_cannot_follow_leaves_the_end_to_the_run(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It does not execute the run's meaning of the language, or does not have the plan."""
    stands_for: Any = frozenset() if what == "SUPPORTED_SEMANTICS" else lambda _: None
    monkeypatch.setattr(f"workflows_core.execution.last_action.{what}", stands_for)
    async with authored_runtime(db, client) as authored:
        assert await act_alone(authored) == ["RunLastAction", "FinishRun"]


async def test_a_run_that_comes_to_another_end_than_was_written_does_not_go_on(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(act("one")))
        await run.handle.result()
        history = json.loads((await run.handle.fetch_history()).to_json())
    (answered,) = [
        e["activityTaskCompletedEventAttributes"]["result"]["payloads"][0]
        for e in history["events"]
        if "activityTaskCompletedEventAttributes" in e
    ]
    answer = json.loads(base64.b64decode(answered["data"]))
    answer["ended"]["steps"] += 1
    answered["data"] = base64.b64encode(json.dumps(answer).encode()).decode()
    doctored = WorkflowHistory.from_json("doctored", json.dumps(history))
    replayed = await authored_replayer().replay_workflow(doctored, raise_on_replay_failure=False)
    assert "differ in what they make of this definition" in str(replayed.replay_failure)


async def test_a_clock_that_is_late_takes_no_run_back(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = SimpleNamespace(time=lambda: time.time() - 60, monotonic=time.monotonic)
    monkeypatch.setattr("workflows_core.execution.regular_action.time", late)
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(assign("before", "$millis()"), act("one"), assign("behind", "$millis()")))
        found = (await run.handle.result())["scopes"]["vars"]
        assert await activities(run) == ["RunLastAction"]
    assert found["behind"] >= found["before"]


async def test_the_end_sees_the_output_as_the_run_does(db: Database, client: Client) -> None:
    """Python has more than JSON can tell."""

    async def give(*_: Any) -> Any:
        return {"pair": (1, 2), "numbered": {1: "one"}}

    def pack() -> Sequence[Action]:
        return [Action("odd.give", 1, give, {"type": "object"}, {}, "Gives.", effect=Effect.IDEMPOTENT)]

    async with authored_runtime(db, client, more={"odd": pack}) as authored:
        steps = [act("one", "odd.give"), assign("n", "$count(one.pair) & $lookup(one.numbered, '1')")]
        run = await authored.start(document(*steps))
        result = await run.handle.result()
        assert await activities(run) == ["RunLastAction"]
        timeline = await run.timeline()
    assert result["scopes"]["vars"] == {"one": {"pair": [1, 2], "numbered": {"1": "one"}}, "n": "2one"}
    assert timeline.run.result_json == result


async def test_a_time_out_before_the_end_fails_the_step_and_the_action_ends_nothing_later(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up_after_two_seconds(monkeypatch)
    stubborn = Stubborn()
    async with authored_runtime(db, client, more={"stubborn": stubborn.pack}) as authored:
        run = await authored.start(document(act("one", "stubborn.act"), assign("n", "one.calls")))
        assert await ended(run) == "WorkflowRuntimeV2.TimeoutError"
        assert await activities(run) == ["RunLastAction", "RevokeLastAction", "FinishRun"]
        await stubborn.end(db)
        timeline = await run.timeline()
    assert timeline.run.status == "FAILED"
    assert [s.step_path for s in timeline.steps] == ["root.steps[0]"]


async def test_an_end_whose_answer_was_lost_is_answered_again(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = losing(monkeypatch)
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(act("one"), assign("n", "$millis()")))
        result = await ended(run)
        assert await activities(run) == ["RunLastAction"]
        timeline = await run.timeline()
    assert lost == [True]
    assert authored.effects.count("one") == 1
    assert (timeline.run.status, timeline.run.result_json) == ("SUCCEEDED", result)


async def test_a_run_that_has_written_something_newer_writes_its_end_itself(db: Database, client: Client) -> None:
    """Signals beside the last action may give the run something to write."""
    async with authored_runtime(db, client) as authored:
        run, gate = await under_way(authored, document(act("one")))
        for number in range(80):
            await run.handle.signal(SIGNAL_EVENT, {"eventId": f"e{number}", "eventName": 7})
        async with asyncio.timeout(20):
            while (await run.timeline()).logs == []:
                await asyncio.sleep(0.05)
        gate.set()
        await run.handle.result()
        assert (await activities(run))[-1] == "FinishRun"
        assert (await run.timeline()).run.status == "SUCCEEDED"
