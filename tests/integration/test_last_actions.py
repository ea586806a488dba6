"""The last action of a run writes its end too: one activity less, and the run abides by it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import Client

from harness.authored import LIMITS, Started, authored_runtime
from harness.ingress import ingress
from harness.interpreted import document, wait
from harness.last_actions import act, act_alone, activities, assign, counting, ended, expr
from workflows_core.execution.policy import RunPolicy
from workflows_core.storage.database import Database
from workflows_core.wire.names import SIGNAL_EVENT

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("unhurried")]


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


async def test_a_parent_is_told_of_an_end_that_an_action_wrote(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        child, _, _ = await authored.publish(
            document(act("below"), {"id": "end", "type": "control.return", "value": expr("below.calls + 41")})
        )
        call = {"type": "control.callWorkflow", "workflowId": child, "workflowVersion": 1, "inputMapping": {}}
        run = await authored.start(document({**call, "outputMapping": {"answer": expr("childRun.result")}}))
        result = await run.handle.result()
    assert result["scopes"]["vars"]["answer"] == 42


async def test_a_fault_behind_the_action_is_not_the_action_s(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unthought(*_: Any, **__: Any) -> Any:
        raise LookupError("nobody thought of this")

    monkeypatch.setattr("workflows_core.execution.last_action.take", unthought)
    async with authored_runtime(db, client) as authored:
        assert await act_alone(authored) == ["RunLastAction", "FinishRun"]
    assert "could not be found out" in caplog.text
