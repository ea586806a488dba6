"""Control steps, by hand: what they do, what they record, where their failures go."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.interpreted import Run, act, wait
from workflows_core.interpreter.messages import CancelAction, CancelTimer, RunAction
from workflows_core.interpreter.state import State


def step_of(step_type: str, **fields: Any) -> dict[str, Any]:
    return {"id": step_type, "type": step_type, **fields}


def expr(source: str) -> dict[str, str]:
    return {"$expr": source}


def assign(step_id: str = "a", **values: str) -> dict[str, Any]:
    return {
        "id": step_id,
        "type": "transform.assign",
        "config": {"assign": {f"vars.{n}": expr(v) for n, v in values.items()}},
    }


def named(step_id: str, **fields: Any) -> dict[str, Any]:
    return {**act(step_id, **fields), "id": step_id}


def vars_of(run: Run) -> dict[str, Any]:
    return dict(run.state.scopes.vars)


def loop(*body: dict[str, Any], items: str = "[10, 20, 30]", **fields: Any) -> dict[str, Any]:
    return step_of("control.forEach", items=expr(items), itemVar="x", body=list(body), **fields)


@pytest.mark.parametrize(("value", "expected"), [("1", "one"), ("true", "yes"), ("'1'", "text"), ("null", "none")])
def test_a_switch_compares_as_json(value: str, expected: str) -> None:
    cases = [(True, "'yes'"), (1, "'one'"), ("1", "'text'")]
    switch = step_of(
        "control.switch",
        value=expr(value),
        cases=[{"equals": equals, "steps": [assign(f"c{n}", got=got)]} for n, (equals, got) in enumerate(cases)],
        default=[assign("d", got="'none'")],
    )
    assert vars_of(Run(switch)) == {"got": expected}


def test_hole_4_each_pass_of_a_loop_has_a_path_a_key_and_a_row_of_its_own() -> None:
    run = Run(loop(named("call", mapping={"same": 1})))
    keys = []
    while run.outcome is None:
        keys.append((run.call.step_path, run.call.call["idempotency_key"]))
        run.succeed({})
    assert keys == [
        (f"root.steps[0].body[{n}].steps[0]", f"run-1:root.steps[0].body[{n}].steps[0]:1") for n in range(3)
    ]


def test_hole_23_items_run_side_by_side_and_their_results_keep_the_order_of_the_items() -> None:
    run = Run(
        loop(
            named("call", mapping={"x": expr("x")}),
            concurrency=2,
            collect=expr("$string(index) & ':' & $string(x)"),
            saveAs="all",
        )
    )
    first, second = (c for c in run.commands if isinstance(c, RunAction))
    assert len(run.state.frames) == 3
    for command, size in ((second, 1), (first, 2)):
        run.answer(command, {"n": size})
    run.succeed({})
    assert vars_of(run)["all"] == ["0:10", "1:20", "2:30"]


def test_hole_12_continue_goes_to_the_next_item_and_lists_what_failed() -> None:
    run = Run(
        loop(
            named("call"),
            assign("after", seen="append(coalesce(vars.seen, []), x)"),
            onItemError="continue",
            errorsAs="bad",
        )
    )
    run.succeed({})
    run.fail("TransientError")
    run.succeed({})
    found = vars_of(run)
    assert found["seen"] == [10, 30], "the second item's next step did not run"
    assert [(e["index"], e["error"]["category"]) for e in found["bad"]] == [(1, "TransientError")]
    assert run.outcome == "SUCCEEDED"


def test_hole_12_the_inner_handler_comes_first() -> None:
    inner = loop(named("call"), onItemError="continue", items="[1]")
    run = Run(step_of("control.tryCatch", **{"try": [inner], "catch": [assign(caught="true")]}))
    run.fail()
    assert (run.outcome, vars_of(run).get("caught")) == ("SUCCEEDED", None)


def test_hole_11_a_failure_that_leaves_a_loop_takes_its_names_with_it() -> None:
    attempt = step_of(
        "control.tryCatch",
        **{"try": [loop(named("call"))], "catch": [assign(left="[$exists(x), $exists(index), $exists(local.item)]")]},
    )
    run = Run(assign(x="'outer'"), {**attempt, "id": "t"}, assign("b", after="x"))
    run.fail()
    assert (vars_of(run)["left"], vars_of(run)["after"]) == ([True, False, False], "outer")


def test_an_item_variable_is_its_item_s_own_and_hides_what_is_outside() -> None:
    inner = step_of("control.forEach", items=expr("[1, 2]"), itemVar="y", body=[assign("w", x="x + y")])
    run = Run(
        assign(x="'outer'"),
        loop(inner, collect=expr("vars.x"), saveAs="all"),
        assign("b", after="x"),
    )
    assert vars_of(run) == {"x": "outer", "all": [13, 23, 33], "after": "outer"}


def test_the_names_of_an_inner_loop_hide_an_outer_variable_of_the_same_name() -> None:
    seen = assign("s", seen="[item, local.item, vars.item, index, local.index, y]")
    inner = step_of("control.forEach", items=expr("['B']"), itemVar="y", body=[seen])
    middle = step_of("control.forEach", items=expr("[7]"), itemVar="index", body=[assign("m", mine="index"), inner])
    run = Run(loop({**middle, "id": "m"}, items="['A']") | {"itemVar": "item"})
    assert vars_of(run) == {"mine": 7, "seen": ["B", "B", "A", 0, 0, "B"]}


def test_the_variable_of_an_inner_loop_hides_that_of_an_outer_one_also_among_variables() -> None:
    inner = step_of("control.forEach", items=expr("[2]"), itemVar="x", body=[assign("s", seen="[x, vars.x]")])
    assert vars_of(Run(loop(inner, items="[1]"))) == {"seen": [2, 2]}


def test_hole_10_the_catch_block_sees_the_error_also_when_it_is_captured() -> None:
    attempt = step_of(
        "control.tryCatch",
        **{"try": [named("call")], "catch": [assign(seen="error.message & '/' & vars.e.category")]},
        captureErrorAs="e",
    )
    run = Run(attempt)
    run.fail("TimeoutError")
    assert vars_of(run)["seen"] == "broken/TimeoutError"
    assert ("root.steps[0]", "SUCCEEDED") in run.steps()


def test_a_failure_in_the_catch_block_looks_further_out() -> None:
    inner = step_of("control.tryCatch", **{"try": [named("one")], "catch": [named("two")]})
    outer = step_of("control.tryCatch", **{"try": [{**inner, "id": "i"}], "catch": [assign(caught="error.nodePath")]})
    run = Run(outer)
    run.fail()
    run.fail()
    assert vars_of(run)["caught"] == "root.steps[0].try.steps[0].catch.steps[0]"
    assert dict(run.steps())["root.steps[0].try.steps[0]"] == "FAILED"


@pytest.mark.parametrize("category", ["Cancellation", "InterpreterCorruption"])
def test_what_no_author_may_handle_passes_every_handler(category: str) -> None:
    inner = loop(named("call", onError={"policy": "continue"}), onItemError="continue")
    run = Run(step_of("control.tryCatch", **{"try": [inner], "catch": []}))
    run.fail(category)
    assert (run.outcome, run.failure.category) == ("FAILED", category)


def test_parallel_branches_wait_for_all_and_a_failure_cancels_the_others() -> None:
    branches = [{"steps": [named("one")]}, {"steps": [{**wait(timeoutMs=5000), "id": "w"}]}, {"steps": [named("two")]}]
    run = Run(step_of("control.parallel", branches=branches))
    first, third = (c for c in run.commands if isinstance(c, RunAction))
    run.answer(first, {})
    assert run.state.outcome is None
    run.answer(third, None, failing="ActionError")
    assert (run.outcome, run.failure.step_path) == ("FAILED", "root.steps[0].branches[2].steps[0]")
    assert any(isinstance(c, CancelTimer) for c in run.commands)
    assert [(r["wait_id"], r["outcome"]) for r in run.records("closed")] == [
        ("run-1:root.steps[0].branches[1].steps[0]:1", "CANCELED")
    ]
    assert dict(run.steps())["root.steps[0].branches[1].steps[0]"] == "CANCELED"


def test_parallel_any_takes_the_first_that_ends_and_cancels_the_losers() -> None:
    branches = [{"steps": [named("slow")]}, {"steps": [named("broken")]}, {"steps": [named("quick")]}]
    run = Run(step_of("control.parallel", branches=branches, wait="any"), assign("z", won="true"))
    slow, broken, quick = (c for c in run.commands if isinstance(c, RunAction))
    run.answer(broken, None, failing="ActionError")
    run.answer(quick, {"n": 1})
    assert (run.outcome, vars_of(run)["quick"]) == ("SUCCEEDED", {"n": 1})
    assert CancelAction(slow.command_id) in run.commands
    row = next(r for r in run.records() if r["step_path"] == "root.steps[0]")
    assert (row["status"], row["output_json"]) == ("SUCCEEDED", {"branch": 2})
    run.answer(slow, {"late": True})
    assert "slow" not in vars_of(run)


def test_a_while_loop_has_a_limit() -> None:
    body = [assign("i", n="coalesce(vars.n, 0) + 1")]
    run = Run(step_of("control.while", condition=expr("coalesce(vars.n, 0) < 3"), maxIterations=3, body=body))
    assert (run.outcome, vars_of(run)) == ("SUCCEEDED", {"n": 3})
    run = Run(step_of("control.while", condition=expr("true"), maxIterations=3, body=body))
    assert (run.failure.code, run.failure.step_path) == ("LOOP_LIMIT_REACHED", "root.steps[0]")


def test_hole_23_return_gives_a_result_from_any_depth_and_ends_what_is_open() -> None:
    branches = [{"steps": [named("open")]}, {"steps": [{"id": "r", "type": "control.return", "value": expr("1 + 1")}]}]
    run = Run(loop(step_of("control.parallel", branches=branches)), named("never"))
    assert run.state.outcome is not None
    assert (run.outcome, run.state.outcome.result) == ("SUCCEEDED", 2)
    seen = dict(run.steps())
    assert seen["root.steps[0].body[0].steps[0].branches[0].steps[0]"] == "CANCELED"
    assert seen["root.steps[0]"] == seen["root.steps[0].body[0].steps[0]"] == "SUCCEEDED"


def undoable(step_id: str) -> dict[str, Any]:
    return {
        **named(step_id),
        "onCompensate": [{**named(f"undo_{step_id}", mapping={"x": expr("x")}), "id": f"u{step_id}"}],
    }


def test_compensation_runs_last_first_with_the_names_of_its_step_and_the_outcome_stays() -> None:
    run = Run(loop(undoable("a"), items="[1, 2]"), named("bad"), definition={"compensateOn": ["failure"]})
    for _ in range(2):
        run.succeed({})
    run.fail("TransientError")
    undone = []
    for failing in (True, False):
        undone.append((run.call.step_path, run.call.call["input"]))
        run.fail() if failing else run.succeed({})
    assert undone == [
        ("root.steps[0].body[1].steps[0].onCompensate.steps[0]", {"x": 2}),
        ("root.steps[0].body[0].steps[0].onCompensate.steps[0]", {"x": 1}),
    ]
    assert (run.outcome, run.failure.category) == ("FAILED", "TransientError")
    assert any("could not be undone" in line["message"] for line in run.records("log"))


def test_a_return_while_undoing_ends_the_undoing_of_its_step_only() -> None:
    # Publishing refuses it; what came past publishing must not turn a failed run into one that succeeded.
    back = {"id": "r", "type": "control.return", "value": expr("'fine'")}
    inner = loop(back, named("never"), items="[1]")
    run = Run(
        undoable("a"),
        {**named("b"), "onCompensate": [{**inner, "id": "l"}]},
        named("bad"),
        definition={"compensateOn": ["failure"]},
        payload={"id": "k", "x": 1},
    )
    run.succeed({})
    run.succeed({})
    run.fail("TransientError")
    assert run.call.step_path == "root.steps[0].onCompensate.steps[0]"
    assert dict(run.steps())["root.steps[1].onCompensate.steps[0]"] == "SUCCEEDED"
    run.succeed({})
    assert run.state.outcome is not None
    assert (run.outcome, run.failure.category, run.state.outcome.result) == ("FAILED", "TransientError", None)


@pytest.mark.parametrize(("ends", "undoes"), [(["failure"], False), (["cancel"], True), ([], False)])
def test_compensation_happens_only_for_the_ends_that_ask_for_it(ends: list[str], undoes: bool) -> None:
    run = Run(undoable("a"), wait(), definition={"compensateOn": ends} if ends else {}, payload={"id": "k", "x": 1})
    run.succeed({})
    run.cancel()
    assert (run.outcome is None) == undoes
    if undoes:
        run.cancel()
        run.state = State.from_checkpoint(json.loads(json.dumps(run.state.to_checkpoint())))
        run.fail()
    assert run.state.outcome is not None
    assert run.state.outcome.status == "CANCELED"


def test_hole_18_data_that_grows_beyond_what_a_run_can_carry_fails_the_step_by_name() -> None:
    grow = assign("g", all="append(coalesce(vars.all, []), [payload.big])")
    body = step_of("control.while", condition=expr("true"), maxIterations=100, body=[grow])
    run = Run(
        step_of("control.tryCatch", **{"try": [body], "catch": [assign("c", n="len(vars.all)")]}, captureErrorAs="e"),
        payload={"id": "k", "big": "x" * 200_000},
    )
    error = vars_of(run)["e"]
    assert (error["category"], error["code"]) == ("ExpressionError", "EXPRESSION_FAILED")
    run = Run(
        *({**assign(f"a{n}", **{f"v{n}": "payload.big"}), "id": f"a{n}"} for n in range(6)),
        payload={"id": "k", "big": "x" * 200_000},
    )
    assert (run.failure.category, run.failure.step_path) == ("StateTooLarge", "root.steps[4]")


def test_what_is_overwritten_is_not_counted_for_ever() -> None:
    again = [{**assign(f"a{n}", v="payload.big"), "id": f"a{n}"} for n in range(30)]
    assert Run(*again, payload={"id": "k", "big": "x" * 200_000}).outcome == "SUCCEEDED"


def test_a_loop_over_too_many_items_is_refused_by_name() -> None:
    run = Run(loop(items="payload.items"), payload={"id": "k", "items": list(range(10_001))})
    assert run.failure.code == "TOO_MANY_ITEMS"


def test_errors_of_side_by_side_items_are_listed_in_the_order_of_the_items() -> None:
    run = Run(loop(named("call"), items="[1, 2]", concurrency=2, onItemError="continue", errorsAs="bad"))
    first, second = (c for c in run.commands if isinstance(c, RunAction))
    run.answer(second, None, failing="TimeoutError")
    run.answer(first, None, failing="ActionError")
    assert [(e["index"], e["error"]["category"]) for e in vars_of(run)["bad"]] == [
        (0, "ActionError"),
        (1, "TimeoutError"),
    ]


def test_what_is_to_be_undone_is_carried_over_continue_as_new() -> None:
    run = Run(undoable("a"), named("bad"), definition={"compensateOn": ["failure"]}, payload={"id": "k", "x": 1})
    run.succeed({})
    run.state = State.from_checkpoint(json.loads(json.dumps(run.state.to_checkpoint())))
    run.fail()
    assert run.call.step_path == "root.steps[0].onCompensate.steps[0]"
