"""Answers and signals that come too late, twice, or for nobody; states that are not of their plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.interpreted import Run, act, wait
from workflows_core.errors import Failure, StepFailed
from workflows_core.interpreter.action_steps import STEP_QUOTA_EXCEEDED
from workflows_core.interpreter.messages import (
    ActionStepFailed,
    QuotaResumed,
    RunAction,
    TaskAnswered,
    TimerFired,
)
from workflows_core.interpreter.state import Frame
from workflows_core.interpreter.writes import take_final_write, take_write, write_is_due

STATE_SET = {"type": "state.set", "config": {"state": "PAID"}}


def parallel(*branches: dict[str, Any], **fields: Any) -> dict[str, Any]:
    listed = [{"steps": [{**step, "id": f"b{number}"}]} for number, step in enumerate(branches)]
    return {"type": "control.parallel", "branches": listed, **fields}


def calls_of(run: Run) -> list[RunAction]:
    return [command for command in run.commands if isinstance(command, RunAction)]


def test_the_late_answer_of_a_branch_that_lost_changes_nothing_while_the_run_goes_on() -> None:
    run = Run(parallel(act("slow"), act("quick"), wait="any"), wait())
    slow, quick = calls_of(run)
    run.answer(quick, {"n": 1})
    before = run.state
    run.answer(slow, {"n": 2})
    assert (run.state, dict(run.state.scopes.vars)) == (before, {"quick": {"n": 1}})
    run.signal()
    assert run.outcome == "SUCCEEDED"


def test_a_timer_that_nobody_waits_for_ends_no_action() -> None:
    run = Run(act("out"))
    before = run.state
    run.apply(TimerFired(run.call.command_id, 2_000))
    assert run.state == before
    run.succeed({"n": 1})
    assert (run.outcome, run.state.scopes.vars["out"]) == ("SUCCEEDED", {"n": 1})


def test_when_there_is_quota_again_only_what_paused_for_it_is_asked_anew() -> None:
    run = Run(parallel(act("paused"), act("working"), wait()))
    paused, working = calls_of(run)
    used_up = Failure("QuotaExceeded", "no steps are left", code=STEP_QUOTA_EXCEEDED)
    run.apply(ActionStepFailed(paused.command_id, 2_000, used_up, recorded=False))
    assert sorted(opened["wait_type"] for opened in run.state.open_waits()) == ["event", "quota"]
    commands = run.apply(QuotaResumed(3_000))
    assert [(c.step_id, c.attempt, c.call) for c in commands if isinstance(c, RunAction)] == [
        (paused.step_id, 1, paused.call)
    ]
    assert [(closed["wait_id"], closed["outcome"]) for closed in run.records("closed")] == [
        (f"run-1:{paused.step_path}:1.quota2000", "RESOLVED")
    ]
    assert [opened["wait_type"] for opened in run.state.open_waits()] == ["event"]
    run.succeed({"n": 1}, at=4_000)
    run.answer(working, {"n": 2})
    run.signal()
    assert (run.outcome, run.state.scopes.vars["paused"]) == ("SUCCEEDED", {"n": 1})


def test_an_answer_to_the_call_that_paused_is_none_to_the_one_after_the_pause() -> None:
    run = Run(act("paused"))
    paused = run.call
    used_up = Failure("QuotaExceeded", "no steps are left", code=STEP_QUOTA_EXCEEDED)
    run.apply(ActionStepFailed(paused.command_id, 2_000, used_up, recorded=False))
    run.apply(QuotaResumed(3_000))
    before = run.state
    run.answer(paused, {"n": 1}, at=3_000)
    run.apply(ActionStepFailed(paused.command_id, 3_000, used_up, recorded=False))
    assert run.state == before
    run.succeed({"n": 2}, at=4_000)
    assert (run.outcome, run.state.scopes.vars["paused"]) == ("SUCCEEDED", {"n": 2})


def test_a_bare_signal_that_comes_twice_before_its_wait_resolves_one_wait_only() -> None:
    run = Run(act(), wait(), wait())
    run.signal("e1")
    run.signal("e1")
    run.succeed({})
    assert (run.outcome, run.state.current_path) == (None, "root.steps[2]")
    run.signal("e2")
    assert run.outcome == "SUCCEEDED"


def test_an_answer_to_a_task_is_none_to_a_wait_with_the_task_s_id_for_a_key() -> None:
    run = Run(wait())
    run.apply(TaskAnswered("k1", {"approved": True}, None, 2_000))
    assert (run.outcome, run.records("consumed")) == (None, [])
    assert [line["message"] for line in run.records("log")] == ["an answer was ignored: no task 'k1' is open"]


def test_a_wait_whose_write_was_lost_is_told_again_beside_an_action_that_is_under_way() -> None:
    run = Run(parallel(act(), wait()))
    assert write_is_due(run.state, 1_000)
    told, write = take_write(run.state, 1_000)
    assert not write_is_due(told, 1_000)
    assert write_is_due(replace(told, outbox=told.outbox.release(write["sequence"])), 1_000)


def test_a_state_that_is_not_of_its_plan_ends_the_run_by_name() -> None:
    run = Run(act("out", retry={"maxAttempts": 3, "backoffMs": 1}))
    run.plan = Run(STATE_SET).plan
    run.succeed({})
    assert (run.outcome, run.failure.category) == ("FAILED", "InterpreterCorruption")
    assert run.failure.message == "root.steps[0] is a state.set, the state has a ActionStep there"


def test_a_list_of_steps_that_waits_for_nothing_is_not_asked_what_for() -> None:
    with pytest.raises(StepFailed) as raised:
        _ = Frame("root.steps", "root.steps", None, position=2).at_work
    failure = raised.value.failure
    assert (failure.category, failure.message) == (
        "InterpreterCorruption",
        "root.steps[2] has ended, or has not begun",
    )


def test_a_run_that_goes_on_has_no_final_write() -> None:
    with pytest.raises(ValueError, match="no outcome yet"):
        take_final_write(Run(wait()).state, None)
