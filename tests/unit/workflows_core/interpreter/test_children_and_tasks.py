"""Child runs, human tasks and e-mails, by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.interpreted import Run, act, document
from workflows_core.actions.answers import answer_check
from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import Failure
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter.compile import compile_plan
from workflows_core.interpreter.messages import (
    ActionStepFailed,
    CancelChild,
    ChildLaunched,
    EventReceived,
    LaunchChild,
    Noted,
    TaskAnswered,
)
from workflows_core.interpreter.state import State
from workflows_core.interpreter.step import outstanding
from workflows_core.wire.messages import EventSignal

GO_ON = {"policy": "continue"}


def call(**fields: Any) -> dict[str, Any]:
    return {
        "type": "control.callWorkflow",
        "workflowId": "child",
        "workflowVersion": 2,
        "inputMapping": {"n": {"$expr": "payload.id"}, "none": {"$expr": "payload.none"}},
        "outputMapping": {"got": {"$expr": "childRun.result"}, "payload.seen": {"$expr": "childRun.vars.x"}},
        **fields,
    }


def launch_of(run: Run) -> LaunchChild:
    return [c for c in run.commands if isinstance(c, LaunchChild)][-1]


def launched(run: Run) -> LaunchChild:
    found = launch_of(run)
    run.apply(ChildLaunched(found.command_id, 2_000))
    return found


def end(run: Run, child: LaunchChild, **body: Any) -> None:
    signal = EventSignal("e", "WORKFLOW_RUN_ENDED", child.child_run_id, body)
    run.apply(EventReceived(signal, 3_000))


def test_a_child_is_launched_waited_for_and_its_outputs_are_assigned() -> None:
    run = Run(call())
    child = launched(run)
    assert (child.workflow_id, child.workflow_version, child.payload) == ("child", 2, {"n": "k1"})
    (wait,) = run.state.open_waits()
    assert (wait["event_name"], wait["key"]) == ("WORKFLOW_RUN_ENDED", child.child_run_id)
    end(run, child, status="SUCCEEDED", result={"scopes": {"vars": {"x": 7}}, "result": 5})
    assert (run.outcome, run.state.scopes.vars["got"], run.state.scopes.payload["seen"]) == ("SUCCEEDED", 5, 7)


def test_a_launch_under_way_is_given_again_after_continue_as_new() -> None:
    run = Run(call())
    state = State.from_checkpoint(json.loads(json.dumps(run.state.to_checkpoint())))
    assert outstanding(run.plan, state) == (launch_of(run),)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"status": "FAILED", "error": {"category": "ActionError", "message": "no"}}, "ended FAILED: no"),
        ({"status": "CANCELED", "error": None}, "nobody knows why"),
    ],
)
def test_a_child_that_fails_fails_the_step_with_its_cause(body: dict[str, Any], said: str) -> None:
    run = Run(call())
    end(run, launched(run), **body)
    assert (run.failure.category, run.failure.code) == ("ChildWorkflowError", "CHILD_RUN_FAILED")
    assert said in run.failure.message


def test_rows_have_so_much_of_a_failure_that_many_of_them_can_be_written() -> None:
    """The step's own row says more than those of the steps around it; the run keeps all of it for its author."""
    body = [{"id": "call", **call(outputMapping={})}]
    each = {"type": "control.forEach", "items": {"$expr": "[1]"}, "itemVar": "one", "body": body}
    for cause, left_out in (({"text": "x" * 5_000}, False), ({"many": ["x" * 1_000] * 40}, True)):
        run = Run(each)
        end(run, launched(run), status="FAILED", error={"message": "m" * 5_000, "details": cause})
        rows = {row["step_path"]: row["error_json"] for row in run.records() if row["error_json"] is not None}
        own, around = rows.values()
        assert own["message"].endswith(f"… ({len(run.failure.message)} characters)")
        assert ("leftOut" in own["details"]) is left_out
        assert len(json.dumps(own)) < 40_000
        assert (len(around["message"]) < 600, "details" in around) == (True, False)
        assert (run.failure.details or {})["cause"]["details"] == cause
    run = Run(call())
    run.apply(Noted("WARN", "n" * 5_000, None, 2_000))
    assert run.records("log")[0]["message"].endswith("n … (5000 characters)")


def test_a_row_has_all_that_a_short_action_said_of_its_failure() -> None:
    """As that of a regular one, which has bounded it where it was called."""
    run = Run(act())
    said = Failure("ActionError", "m" * 5_000, details={"text": "x" * 5_000})
    run.apply(ActionStepFailed(run.call.command_id, 2_000, said, recorded=False))
    (row,) = run.records()
    assert (row["error_json"]["message"], row["error_json"]["details"]) == (said.message, said.details)


def test_every_attempt_has_a_child_of_its_own() -> None:
    run = Run(call(retry={"maxAttempts": 3, "backoffMs": 1}))
    first = launched(run)
    end(run, first, status="FAILED", error={"category": "ActionError", "message": "no"})
    run.fire()
    second = launch_of(run)
    assert second.child_run_id != first.child_run_id
    refused = Run(call(onError=GO_ON))
    answer = ActionStepFailed(launch_of(refused).command_id, 2_000, Failure("ChildWorkflowError", "paused"), False)
    refused.apply(answer)
    assert (refused.outcome, dict(refused.state.scopes.error or {})["message"]) == ("SUCCEEDED", "paused")


def test_an_output_that_is_not_there_fails_the_step_and_starts_no_other_child() -> None:
    run = Run(call(retry={"maxAttempts": 3, "backoffMs": 1}))
    end(run, launched(run), status="SUCCEEDED", result={"scopes": None, "scopesBytes": 999_999, "result": None})
    assert (run.outcome, run.failure.category) == ("FAILED", "ExpressionError")
    assert sum(isinstance(c, LaunchChild) for c in run.commands) == 1


def test_a_result_that_no_event_carries_fails_a_parent_that_assigns_from_it_and_no_other() -> None:
    run = Run(call())
    end(run, launched(run), status="SUCCEEDED", result=None, resultBytes=600_000)
    assert (run.failure.category, run.failure.code) == ("PayloadTooLarge", "CHILD_RESULT_TOO_LARGE")
    assert "600000 bytes" in run.failure.message
    indifferent = Run(call(outputMapping={}))
    end(indifferent, launched(indifferent), status="SUCCEEDED", result=None, resultBytes=600_000)
    assert indifferent.outcome == "SUCCEEDED"


@pytest.mark.parametrize("is_launched", [False, True])
def test_a_cancel_goes_down_whether_the_child_runs_yet_or_not(is_launched: bool) -> None:
    run = Run(call())
    child = launched(run) if is_launched else launch_of(run)
    run.cancel()
    assert CancelChild(child.child_run_id, "root.steps[0]") in run.commands


def task(**config: Any) -> dict[str, Any]:
    schema = {"type": "object", "required": ["ok"]}
    config = {"taskType": "t", "title": {"$expr": "'T'"}, "responseSchema": schema, **config}
    return {"type": "human.task", "config": config}


def with_checks(run_of: dict[str, Any], **options: Any) -> Run:
    """A run whose plan checks answers."""
    run = Run(run_of, **options)
    run.plan = compile_plan(parse_definition(document(run_of)), JlensEngine(), answer_check)
    return run


def test_an_answer_is_checked_and_an_unknown_task_is_noted() -> None:
    run = with_checks(task(assign={"ok": {"$expr": "event.ok"}}))
    (wait,) = run.state.open_waits()
    task_id = wait["key"] or ""
    for known, answer in ((task_id, {}), ("another", {"ok": 1}), (task_id, {"ok": 2})):
        run.apply(TaskAnswered(known, answer, None, 2_000))
    assert (run.outcome, run.state.scopes.vars["ok"]) == ("SUCCEEDED", 2)
    lines = [line["message"] for line in run.records("log")]
    assert ["does not fit" in lines[0], "'another'" in lines[1]] == [True, True]
    assert run.records("refused") == [], "no delivery waits for a verdict"


@pytest.mark.parametrize(("given", "known"), [("mine", "mine"), (None, "{task}:answer")])
def test_an_answer_by_signal_is_known_by_the_id_that_it_was_given(given: str | None, known: str) -> None:
    run = with_checks(task())
    (wait,) = run.state.open_waits()
    run.apply(TaskAnswered(wait["key"] or "", {"ok": 1}, given, 2_000))
    (taken,) = run.records("consumed")
    assert taken["event_id"] == known.format(task=wait["key"])


def test_a_task_that_nobody_answers_times_out_by_its_name() -> None:
    run = Run(task(timeoutMs=60_000, dueInMs=1_000))
    (wait,) = run.state.open_waits()
    assert (wait["payload"]["dueAt"], wait["timeout_at"]) == (2_000, 61_000)
    run.fire()
    assert run.failure.code == "HUMAN_TASK_TIMED_OUT"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"title": {"$expr": "5"}}, "must be a text"),
        ({"assignedUsers": {"$expr": "[1]"}}, "list of texts"),
        ({"description": {"$expr": "payload.none"}}, "has no value"),
    ],
)
def test_a_task_that_makes_no_sense_fails_before_anybody_sees_it(config: dict[str, Any], said: str) -> None:
    run = Run(task(**config))
    assert said in run.failure.message
    assert run.state.open_waits() == []


def test_one_assignee_is_a_list_of_one() -> None:
    (wait,) = Run(task(assignedUsers={"$expr": "'anna'"})).state.open_waits()
    assert wait["payload"]["assignedUsers"] == ["anna"]


@pytest.mark.parametrize("kind", ["email.parseBody", "email.renderCommentBlocks"])
def test_an_e_mail_without_a_body_is_empty_and_one_that_is_no_text_fails(kind: str) -> None:
    empty = Run({"type": kind, "config": {"text": {"$expr": "payload.none"}, "saveAs": "vars.m"}})
    assert empty.outcome == "SUCCEEDED"
    wrong = Run({"type": kind, "config": {"html": {"$expr": "5"}, "saveAs": "vars.m"}})
    assert "must be a text" in wrong.failure.message
