"""The last action of a run writes its end too: one activity less, and the run abides by it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowFailureError, WorkflowHistory

from harness.authored import LIMITS, TENANT, Authored, Started, authored_runtime
from harness.ingress import ingress
from harness.interpreted import document, wait
from harness.run_records import rows
from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.execution import options
from workflows_core.execution.policy import RunPolicy
from workflows_core.execution.worker import authored_replayer
from workflows_core.storage import last_actions
from workflows_core.storage.database import Database
from workflows_core.wire.names import SIGNAL_EVENT

pytestmark = pytest.mark.asyncio(loop_scope="session")


def expr(source: str) -> dict[str, str]:
    return {"$expr": source}


def act(name: str, action: str = "test.act", **fields: Any) -> dict[str, Any]:
    config = {"actionId": action, "version": 1, "inputMapping": {"name": name}, "saveAs": name}
    return {"id": name, "type": "action.call", "config": config, **fields}


def assign(name: str, source: str) -> dict[str, Any]:
    return {"id": name, "type": "transform.assign", "config": {"assign": {f"vars.{name}": expr(source)}}}


def counting() -> Sequence[Action]:
    """`count.runs@1`, transactional: how often the run has called it."""

    async def count(_: Any, context: ActionContext) -> Any:
        assert context.store is not None
        return {"calls": (await context.store.increment("calls", context.run_id, 1)).value}

    anything = {"type": "object"}
    return [Action("count.runs", 1, count, anything, anything, "Counts.", effect=Effect.TRANSACTIONAL)]


async def scheduled(run: Started) -> list[str]:
    """Types of the regular activities that the run has asked for, in order."""
    found = [e.activity_task_scheduled_event_attributes for e in (await run.handle.fetch_history()).events]
    return [one.activity_type.name.removeprefix("workflowRuntimeV2") for one in found if one.activity_type.name]


async def activities(run: Started) -> list[str]:
    """The same of a run that has ended; its history replays."""
    history = await run.handle.fetch_history()
    replayed = await authored_replayer().replay_workflow(
        WorkflowHistory.from_json(run.handle.id, history.to_json()), raise_on_replay_failure=False
    )
    assert replayed.replay_failure is None
    return await scheduled(run)


async def ended(run: Started) -> Any:
    """How the run ended for Temporal: its result, or the category of its failure."""
    try:
        return await run.handle.result()
    except WorkflowFailureError as error:
        return getattr(error.cause, "type", type(error.cause).__name__)


async def recorded(run: Started) -> Any:
    """What the run's rows say, without times."""
    timeline = await run.timeline()
    steps = [(s.step_path, s.status, s.attempt, s.output_json) for s in timeline.steps]
    calls = sorted((i.step_path, i.status, i.attempt, json.dumps(i.output_json)) for i in timeline.invocations)
    error = timeline.run.error_json and timeline.run.error_json["category"]
    return timeline.run.status, error, timeline.run.result_json, steps, calls, [w.status for w in timeline.waits]


def timeless(value: Any) -> Any:
    """Without the times that errors have."""
    if isinstance(value, dict):
        return {name: timeless(inner) for name, inner in value.items() if name != "at"}
    return [timeless(inner) for inner in value] if isinstance(value, list | tuple) else value


@asynccontextmanager
async def held_behind_the_end(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[asyncio.Event, asyncio.Event]]:
    """The activity has written the end, and does not say so before it may; sets the first, waits for the second."""
    written, may_answer = asyncio.Event(), asyncio.Event()
    complete = last_actions.complete_last

    async def slowly(*args: Any) -> bool:
        answer = await complete(*args)
        if answer and not written.is_set():
            await args[0].commit()
            written.set()
            await may_answer.wait()
        return answer

    monkeypatch.setattr(last_actions, "complete_last", slowly)
    yield written, may_answer
    may_answer.set()


INNER = [act("inner"), assign("n", "inner.calls")]
ENDINGS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an action": (document(act("one"), act("two")), ["RunAction", "RunLastAction"]),
    "control steps behind it": (
        document(
            act("one"),
            assign("n", "one.calls + 1"),
            {"id": "if", "type": "control.if", "condition": expr("vars.n = 2"), "then": [assign("m", "'yes'")]},
            {"id": "end", "type": "control.return", "value": expr("{'n': vars.n, 'm': vars.m, 'name': one.name}")},
        ),
        ["RunLastAction"],
    ),
    "inside of others": (
        document(
            {
                "id": "try",
                "type": "control.tryCatch",
                "try": [{"id": "if", "type": "control.if", "condition": expr("true"), "then": INNER}],
                "catch": [act("never")],
            }
        ),
        ["RunLastAction"],
    ),
    "a failure behind it": (document(act("one"), assign("n", "one.nothing.at.all & 1 + 'x'")), ["RunLastAction"]),
    "a failure behind it that is caught": (
        document(
            {
                "id": "try",
                "type": "control.tryCatch",
                "try": [act("one"), assign("n", "1 + 'x'")],
                "catch": [act("two")],
            }
        ),
        ["RunLastAction", "RunLastAction"],
    ),
    "one that is transactional": (
        document(act("one", "count.runs"), act("two", "count.runs")),
        ["RunAction", "RunLastAction"],
    ),
    "one that is at-most-once": (document(act("one", "test.once")), ["RunLastAction"]),
    "one that fails": (document(act("bad")), ["RunLastAction", "FinishRun"]),
    "one that fails and is passed over": (
        document(act("bad", onError={"policy": "continue"})),
        ["RunLastAction", "FinishRun"],
    ),
    "one that is tried again": (
        document(act("bad", retry={"maxAttempts": 2, "backoffMs": 1})),
        ["RunLastAction", "RunLastAction"],
    ),
    "a failure that is compensated": (
        {
            **document({**act("one"), "onCompensate": [act("undo")]}, assign("n", "1 + 'x'")),
            "compensateOn": ["failure"],
        },
        ["RunLastAction", "RunAction", "FinishRun"],
    ),
    "a loop": (
        document({"id": "loop", "type": "control.forEach", "items": expr("[1, 2]"), "itemVar": "x", "body": INNER}),
        ["RunAction", "RunAction", "FinishRun"],
    ),
    "a short action behind it": (document(act("one"), act("short", "test.short")), ["RunAction", "FinishRun"]),
    "side by side": (
        document(
            {
                "id": "both",
                "type": "control.parallel",
                "branches": [{"steps": [act("one")]}, {"steps": [act("two")]}],
            }
        ),
        ["RunAction", "RunAction", "FinishRun"],
    ),
}


@pytest.mark.parametrize("cached", [100, 0], ids=["kept between tasks", "replayed for each task"])
@pytest.mark.parametrize("case", ENDINGS)
async def test_a_run_ends_the_same_with_and_without(db: Database, client: Client, case: str, cached: int) -> None:
    definition, expected = ENDINGS[case]
    found = []
    for ends in (True, False):
        given: Any = {"policy": RunPolicy(last_action_ends=ends), "limits": replace(LIMITS, cached_runs=cached)}
        async with authored_runtime(db, client, more={"count": counting}, **given) as authored:
            authored.effects.failures["bad"] = ["ActionError"]
            run = await authored.start(definition)
            result = await ended(run)
            found.append((result, await recorded(run), [name for name, _ in authored.effects.calls]))
            called = await activities(run)
            if isinstance(result, dict):
                assert found[-1][1][2] == result
        if ends:
            assert called == expected
        else:
            assert set(called) == {"RunAction", "FinishRun"}
    assert timeless(found[0]) == timeless(found[1])
    assert found[0][1][0] in ("SUCCEEDED", "FAILED")


async def test_a_run_that_carries_much_writes_its_end_apart(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(act("one")), {"text": "x" * 40_000})
        await run.handle.result()
        assert await activities(run) == ["RunAction", "FinishRun"]


async def test_what_waits_consumed_is_told_with_the_end(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        run = await authored.start(document(wait("PAID", "payload.id"), act("one")), {"id": "k1"})
        await run.until("WAITING")
        signal = {"eventId": "e1", "eventName": "PAID", "correlationKey": "k1", "payload": {}}
        await run.handle.signal(SIGNAL_EVENT, signal)
        await run.handle.result()
        assert await activities(run) == ["WriteRun", "RunLastAction"]
        timeline = await run.timeline()
    assert [(w.status, w.matched_event_id) for w in timeline.waits] == [("RESOLVED", "e1")]
    assert timeline.run.status == "SUCCEEDED"


async def test_a_cancel_before_the_end_cancels_and_the_action_ends_nothing_later(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        gate = authored.effects.gates["two"] = asyncio.Event()
        run = await authored.start(document(act("one"), act("two"), assign("n", "two.calls")))
        while not authored.effects.count("two"):
            await asyncio.sleep(0.01)
        await run.handle.cancel()
        assert await ended(run) == "CancelledError"
        gate.set()
        async with asyncio.timeout(10):
            while [i["status"] for i in await rows(db, "workflow_action_invocations")] != ["SUCCEEDED", "SUCCEEDED"]:
                await asyncio.sleep(0.01)
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


async def test_a_time_out_behind_the_end_changes_nothing(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "_TIME_OUT_MARGIN", timedelta(seconds=-598))
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
    monkeypatch.setattr(options, "_TIME_OUT_MARGIN", timedelta(seconds=-598))
    async with authored_runtime(db, client) as authored, held_behind_the_end(monkeypatch) as (written, _):
        run = await authored.start(document(act("one")))
        await written.wait()
        async with db.tenant(TENANT) as conn:
            # What the run asks waits for this, and the cancel is there before it is answered.
            await conn.execute(text("SELECT 1 FROM workflow_runs WHERE run_id = :id FOR UPDATE"), {"id": run.run_id})
            while "RevokeLastAction" not in await scheduled(run):
                await asyncio.sleep(0.05)
            await run.handle.cancel()
            await asyncio.sleep(0.5)
        result = await ended(run)
        timeline = await run.timeline()
    assert (timeline.run.status, timeline.run.result_json) == ("SUCCEEDED", result)


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
    monkeypatch.setattr(options, "_TIME_OUT_MARGIN", timedelta(seconds=-598))
    async with authored_runtime(db, client) as authored:
        gate = authored.effects.gates["one"] = asyncio.Event()
        run = await authored.start(document(act("one"), assign("n", "one.calls")))
        assert await ended(run) == "WorkflowRuntimeV2.TimeoutError"
        assert await activities(run) == ["RunLastAction", "RevokeLastAction", "FinishRun"]
        gate.set()
        await asyncio.sleep(0.5)
        timeline = await run.timeline()
    assert timeline.run.status == "FAILED"
    assert [s.step_path for s in timeline.steps] == ["root.steps[0]"]


async def test_an_end_whose_answer_was_lost_is_answered_again(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = last_actions.complete_last
    lost: list[bool] = []

    async def losing(*args: Any) -> bool:
        answer = await complete(*args)
        if not lost:
            lost.append(answer)
            raise TimeoutError
        return answer

    monkeypatch.setattr(last_actions, "complete_last", losing)
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
        gate = authored.effects.gates["one"] = asyncio.Event()
        run = await authored.start(document(act("one")))
        while not authored.effects.count("one"):
            await asyncio.sleep(0.01)
        for number in range(80):
            await run.handle.signal(SIGNAL_EVENT, {"eventId": f"e{number}", "eventName": 7})
        async with asyncio.timeout(20):
            while "WriteRun" not in await scheduled(run):
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        gate.set()
        await run.handle.result()
        assert (await activities(run))[-1] == "FinishRun"
        assert (await run.timeline()).run.status == "SUCCEEDED"


async def test_a_parent_is_told_of_an_end_that_an_action_wrote(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        child, _, _ = await authored.publish(
            document(act("below"), {"id": "end", "type": "control.return", "value": expr("below.calls + 41")})
        )
        call = {"type": "control.callWorkflow", "workflowId": child, "workflowVersion": 1, "inputMapping": {}}
        run = await authored.start(document({**call, "outputMapping": {"answer": expr("childRun.result")}}))
        result = await run.handle.result()
    assert result["scopes"]["vars"]["answer"] == 42


async def broken(authored: Authored) -> list[str]:
    run = await authored.start(document(act("one")))
    await run.handle.result()
    assert (await run.timeline()).run.status == "SUCCEEDED"
    return await activities(run)


async def test_a_fault_behind_the_action_is_not_the_action_s(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unthought(*_: Any, **__: Any) -> Any:
        raise LookupError("nobody thought of this")

    monkeypatch.setattr("workflows_core.execution.last_action.take", unthought)
    async with authored_runtime(db, client) as authored:
        assert await broken(authored) == ["RunLastAction", "FinishRun"]
    assert "could not be found out" in caplog.text


async def test_a_process_that_does_not_have_the_plan_leaves_the_end_to_the_run(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows_core.execution.last_action.compiled_plan", lambda _: None)
    async with authored_runtime(db, client) as authored:
        assert await broken(authored) == ["RunLastAction", "FinishRun"]
