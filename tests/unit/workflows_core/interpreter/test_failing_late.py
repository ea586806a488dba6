"""Failures of what comes after a step's own work: saving, assigning, handling, undoing what is open."""

from __future__ import annotations

from typing import Any

import pytest

from harness.interpreted import Run, act, wait
from workflows_core.errors import Refused
from workflows_core.interpreter.action_steps import MAX_RECORDED_INPUT_BYTES
from workflows_core.interpreter.machine import MAX_STATE_BYTES
from workflows_core.interpreter.messages import ActionSucceeded, CancelAction, CancelTimer, RunAction, StartTimer

RETRY = {"maxAttempts": 3, "backoffMs": 1}


def assign(step_id: str = "a", **paths: str) -> dict[str, Any]:
    values = {path.replace("__", "."): {"$expr": source} for path, source in paths.items()}
    return {"id": step_id, "type": "transform.assign", "config": {"assign": values}}


def named(step_id: str, **fields: Any) -> dict[str, Any]:
    return {**act(step_id, **fields), "id": step_id}


def test_an_output_that_the_run_cannot_carry_fails_the_step_and_repeats_no_effect() -> None:
    run = Run(act("out", retry=RETRY))
    run.apply(ActionSucceeded(run.call.command_id, 2_000, {}, MAX_STATE_BYTES + 1, recorded=True))
    assert (run.failure.category, run.failure.code) == ("StateTooLarge", "STATE_TOO_LARGE")
    assert "vars.out would bring the run's data to" in run.failure.message
    assert "out" not in run.state.scopes.vars
    assert not [command for command in run.commands if isinstance(command, StartTimer)]


def test_a_short_action_whose_output_cannot_be_saved_has_its_row_in_the_ledger_all_the_same() -> None:
    run = Run(act("out", retry=RETRY))
    run.apply(ActionSucceeded(run.call.command_id, 2_000, {"n": 1}, MAX_STATE_BYTES + 1, recorded=False))
    (row,) = run.records()
    assert (row["status"], row["error_json"]["code"]) == ("FAILED", "STATE_TOO_LARGE")
    assert (row["invocation"]["status"], row["invocation"]["output_json"]) == ("SUCCEEDED", {"n": 1})


@pytest.mark.parametrize(
    ("size", "is_recorded"), [(MAX_RECORDED_INPUT_BYTES // 2, True), (MAX_RECORDED_INPUT_BYTES, False)]
)
@pytest.mark.parametrize("succeeds", [True, False])
def test_a_short_action_s_row_has_no_input_that_the_write_could_not_carry(
    size: int, is_recorded: bool, succeeds: bool
) -> None:
    run = Run(act("out", {"text": "x" * size}))
    if succeeds:
        run.apply(ActionSucceeded(run.call.command_id, 2_000, {}, 2, recorded=False))
    else:
        run.fail(recorded=False)
    (row,) = run.records()
    assert row["invocation"]["input_json"] == (run.call.call["input"] if is_recorded else None)


def test_an_assignment_that_fails_after_its_event_fails_the_step_and_the_event_is_taken() -> None:
    run = Run(wait(assign={"total": {"$expr": "event.amount"}}))
    run.signal(payload={"sum": 5}, wait_id="run-1:root.steps[0]:1", delivery_id="d1")
    assert (run.outcome, run.failure.category, run.failure.step_path) == ("FAILED", "ExpressionError", "root.steps[0]")
    assert "vars.total" in run.failure.message
    assert [record["delivery_id"] for record in run.records("consumed")] == ["d1"]
    assert run.records("closed") == []


def test_a_step_that_failed_is_not_undone_though_the_run_went_on() -> None:
    undo = [named("undo")]
    run = Run(
        named("failed", onError={"policy": "continue"}, onCompensate=undo),
        named("last"),
        definition={"compensateOn": ["failure"]},
    )
    run.fail()
    run.fail()
    assert (run.outcome, [call.step_id for call in run.commands if isinstance(call, RunAction)]) == (
        "FAILED",
        ["failed", "last"],
    )


def test_what_undoes_is_not_undone_itself() -> None:
    # Publishing refuses it; what came past publishing must not go on undoing.
    undo = named("undo", onCompensate=[named("undo_undo")])
    run = Run(named("done", onCompensate=[undo]), named("last"), definition={"compensateOn": ["failure"]})
    run.succeed({})
    run.fail()
    assert run.call.step_id == "undo"
    run.succeed({})
    assert (run.outcome, run.call.step_id) == ("FAILED", "undo")


def test_a_handler_that_fails_itself_hands_its_own_failure_outwards() -> None:
    attempt = {
        "type": "control.tryCatch",
        "try": [named("call")],
        "catch": [assign("c", vars__caught="true")],
        "captureErrorAs": "vars.e",
    }
    run = Run(attempt, payload={"pad": "x" * (MAX_STATE_BYTES - 60)})
    run.fail("ActionError")
    assert (run.outcome, run.failure.category, run.failure.step_path) == ("FAILED", "StateTooLarge", "root.steps[0]")
    assert dict(run.steps())["root.steps[0]"] == "FAILED"
    assert run.state.scopes.vars == {}, "the catch block did not run"


def test_where_one_branch_is_enough_the_failure_of_the_last_one_is_the_step_s() -> None:
    branches = [{"steps": [named("one")]}, {"steps": [named("two")]}]
    run = Run({"type": "control.parallel", "branches": branches, "wait": "any"})
    one, two = (command for command in run.commands if isinstance(command, RunAction))
    run.answer(two, None, failing="TimeoutError")
    assert run.outcome is None
    run.answer(one, None, failing="ActionError")
    assert (run.failure.category, run.failure.step_path) == ("ActionError", "root.steps[0].branches[0].steps[0]")
    lines = [line["message"] for line in run.records("log")]
    assert lines == ["branch 1 failed, the others go on: broken"]


def test_a_cancel_closes_everything_at_every_depth_once() -> None:
    branches = [{"steps": [named("call")]}, {"steps": [{**wait(timeoutMs=60_000), "id": "w"}]}]
    inner = {"id": "p", "type": "control.parallel", "branches": branches}
    run = Run({"type": "control.forEach", "items": {"$expr": "[1]"}, "itemVar": "x", "body": [inner]})
    run.cancel()
    inside = "root.steps[0].body[0].steps[0]"
    open_paths = ["root.steps[0]", inside, f"{inside}.branches[0].steps[0]", f"{inside}.branches[1].steps[0]"]
    assert sorted(run.steps()) == [(path, "CANCELED") for path in open_paths]
    assert [record["outcome"] for record in run.records("closed")] == ["CANCELED"]
    cancelled = {command for command in run.commands if isinstance(command, (CancelAction, CancelTimer))}
    assert cancelled == {CancelAction(run.call.command_id), CancelTimer(run.timer.command_id)}
    assert (run.outcome, run.state.frames) == ("CANCELED", {})


def test_an_author_may_note_something_at_the_error_and_its_other_fields_stay() -> None:
    run = Run(
        act(onError={"policy": "continue"}),
        assign("note", error__note="'seen'"),
        assign("said", vars__said="error.category & ' ' & error.note"),
    )
    run.fail("TransientError")
    assert run.state.scopes.vars == {"said": "TransientError seen"}


@pytest.mark.parametrize("value", [{"$expr": "payload.nope"}, [1, {"$expr": "payload.nope"}]], ids=["one", "in a list"])
def test_a_filter_whose_value_is_missing_fails_the_step_and_holds_for_no_event(value: Any) -> None:
    op = "not_in" if isinstance(value, list) else "!="
    asking = wait(filters=[{"path": "status", "op": op, "value": value}])
    run = Run(asking)
    assert (run.outcome, run.failure.category) == ("FAILED", "ExpressionError")
    assert "the value of filter status has no value: 'payload.nope'" in run.failure.message
    assert Run(asking, payload={"id": "k1", "nope": None}).outcome is None


def test_a_run_that_began_before_filters_needed_values_goes_on_as_it_began() -> None:
    asking = wait(filters=[{"path": "status", "op": "!=", "value": {"$expr": "payload.nope"}}])
    run = Run(asking, semantics=1)
    assert [one["filters"] for one in run.state.open_waits()] == [[{"path": "status", "op": "!=", "value": None}]]
    run.signal(payload={"status": "OPEN"})
    assert run.outcome == "SUCCEEDED"


def test_a_filter_that_asks_whether_a_field_is_there_needs_no_value() -> None:
    run = Run(wait(filters=[{"path": "receipt", "op": "exists"}]))
    run.signal("e1", payload={"amount": 5})
    assert run.outcome is None
    run.signal("e2", payload={"receipt": None})
    assert run.outcome == "SUCCEEDED"


def test_the_parsed_body_goes_only_where_a_run_may_write() -> None:
    with pytest.raises(Refused, match=r"INVALID_ASSIGN_PATH.*scope 'system' cannot be written to"):
        Run({"type": "email.parseBody", "config": {"saveAs": "system.mail"}})
