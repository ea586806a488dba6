"""Which calls may be the last of their run. The answers stand in histories: none of them changes."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from harness.interpreted import Run, act, wait
from workflows_core.execution.action_calls import call_body
from workflows_core.execution.last_calls import last_call
from workflows_core.interpreter.endings import may_end_next
from workflows_core.interpreter.writes import take_carried_write, take_write
from workflows_core.wire.compact_last_calls import Asked, compact_answer, compact_asked, full_answer, full_asked
from workflows_core.wire.records import ActionCall


def expr(source: str) -> dict[str, str]:
    return {"$expr": source}


ASSIGN = {"id": "n", "type": "transform.assign", "config": {"assign": {"vars.n": expr("1")}}}
ACT = {"id": "a", **act()}
PAUSE = {"id": "t", "type": "time.wait", "config": {"mode": "duration", "durationMs": 5}}


def branch(*steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "if", "type": "control.if", "condition": expr("true"), "then": list(steps), **fields}


def guarded(attempt: list[dict[str, Any]], catch: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": "try", "type": "control.tryCatch", "try": attempt, "catch": catch}


def side_by_side(*branches: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": "p", "type": "control.parallel", "branches": [{"steps": steps} for steps in branches]}


def loop(**fields: Any) -> dict[str, Any]:
    return {"id": "l", "type": "control.forEach", "items": expr("[1]"), "itemVar": "x", "body": [ACT], **fields}


MAY = {
    "alone": [act()],
    "with control steps behind it": [act(), ASSIGN, branch(ASSIGN), {"type": "control.return"}],
    "inside of branches": [branch(branch(ACT, ASSIGN), ASSIGN)],
    "where only what a failure leads to would ask": [guarded([ACT, ASSIGN], [ACT])],
    "in a catch": [guarded([branch(ASSIGN, condition=expr("1 + 'x'"))], [ACT])],
    "with an undo behind it": [act(), {**ASSIGN, "onCompensate": [ACT]}],
    "with a loop behind it that asks nothing": [act(), loop(body=[ASSIGN])],
}
MAY_NOT = {
    "an action behind it": [act(), {"id": "b", **act()}],
    "an action behind it, on a way that may not be taken": [act(), branch(ACT, condition=expr("false"))],
    "a wait behind it": [act(), wait()],
    "a time behind it": [branch(ACT), PAUSE],
    "a task behind it": [act(), {"type": "human.task", "config": {"taskType": "approval", "title": expr("'t'")}}],
    "a child behind it": [
        act(),
        {"type": "control.callWorkflow", "workflowId": "w", "workflowVersion": 1, "inputMapping": {}},
    ],
    "another beside it": [side_by_side([ACT], [{"id": "b", **act()}])],
    "the last open one of several branches": [side_by_side([ACT], [ASSIGN])],
    "in a loop": [loop()],
    "a wait alone": [wait()],
}


@pytest.mark.parametrize("case", MAY)
def test_a_call_that_may_be_the_last(case: str) -> None:
    run = Run(*MAY[case])
    assert may_end_next(run.plan, run.state)
    run.succeed({})
    assert run.outcome == "SUCCEEDED"


@pytest.mark.parametrize("case", MAY_NOT)
def test_a_call_that_is_not_the_last(case: str) -> None:
    run = Run(*MAY_NOT[case])
    assert run.outcome is None
    assert not may_end_next(run.plan, run.state)


UNDONE = [{**act("booked"), "onCompensate": [ACT]}, {"id": "b", **act("paid")}]


def of_an_earlier_build(copy: dict[str, Any]) -> dict[str, Any]:
    """It left out what the write and the call had of their own."""
    identity = {name: copy["identity"][name] for name in ("definition_hash", "trigger_type")}
    frames = json.loads(json.dumps(copy["frames"]))
    for frame in frames:
        (frame["pending"] or {}).pop("call", None)
    return {**copy, "identity": identity, "frames": frames}


@pytest.mark.parametrize("case", [*MAY, "undone"])
def test_the_state_beside_a_call_says_all_and_nothing_twice(case: str) -> None:
    run = Run(*MAY.get(case, UNDONE))
    if case == "undone":
        run.succeed({"n": [1]})
    state, write = take_carried_write(run.state, run.call.step_path)
    copy, call = state.to_copy(), cast(ActionCall, call_body(run.call, write))
    asked = Asked(run.call.command_id, 7, copy)
    compact = json.loads(json.dumps(compact_asked(call, asked)))
    assert full_asked(compact, call) == asked
    assert full_asked({"state": of_an_earlier_build(copy), "commandId": asked.command_id, "at": 7}, call) == asked
    assert len(json.dumps(compact["state"])) < 0.7 * len(json.dumps(copy))


def test_what_undoes_a_run_is_not_its_last() -> None:
    undone = {**act(), "onCompensate": [ACT]}
    run = Run(undone, {"id": "b", **act()}, definition={"compensateOn": ["failure"]})
    run.succeed({})
    assert may_end_next(run.plan, run.state)
    run.fail()
    assert run.state.ending is not None
    assert not may_end_next(run.plan, run.state)


def test_the_end_has_a_number_that_no_other_write_has() -> None:
    run = Run(act())
    state, write = take_carried_write(run.state, run.call.step_path)
    left, last = last_call(run.plan, state, run.call, write)
    assert last is not None
    _, following = take_write(left, 2_000)
    assert following["sequence"] == write["sequence"] + 2


@pytest.mark.parametrize(
    "answer",
    [
        {"output": {"n": 1}, "ended": {"at": 5, "status": "SUCCEEDED", "category": None, "path": "root.a", "steps": 3}},
        {"output": None, "ended": {"at": 5, "status": "FAILED", "category": "ActionError", "path": None, "steps": 3}},
        {"output": {"ended": 1}},
        {"found": {"status": "SUCCEEDED", "at": 5, "result_json": None, "error_json": None}},
    ],
)
def test_the_answer_says_the_same_in_a_history(answer: Any) -> None:
    compact = json.loads(json.dumps(compact_answer(answer, "root.a")))
    assert full_answer(compact, "root.a") == answer
    assert full_answer(answer, "root.b") == answer, "as an earlier build gave it"
