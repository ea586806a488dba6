"""Loop variables, unreachable steps, variables that nothing sets."""

from __future__ import annotations

from typing import Any

import pytest

from harness.interpreted import document
from harness.own_definitions import OWN, Own, assign, attempt, each, echo, expr, side, step
from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import Problem
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.validation.flow import (
    compensation_problems,
    loop_variable_problems,
    unreachable_problems,
    variable_problems,
)

END = step("control.return", "end")
ENGINE = JlensEngine()


def flow(*steps: dict[str, Any]) -> list[Problem]:
    definition = parse_definition(document(*steps))
    return [
        *loop_variable_problems(definition),
        *compensation_problems(definition),
        *unreachable_problems(definition),
        *variable_problems(definition, ENGINE),
    ]


@pytest.mark.parametrize("own", OWN, ids=lambda own: own.name)
def test_definitions_that_run_have_none(own: Own) -> None:
    shadowed = ["LOOP_VARIABLE_SHADOWED"] if own.name == "loops inside loops" else []
    assert [problem.code for problem in flow(*own.steps)] == shadowed


@pytest.mark.parametrize(
    ("name", "said"), [("a b", "no name"), ("error", "name of a scope"), ("vars", "name of a scope")]
)
def test_a_loop_variable_has_a_name_of_its_own(name: str, said: str) -> None:
    (problem,) = flow({**each("l", "[1]"), "itemVar": name})
    assert (problem.code, problem.path, problem.severity) == ("LOOP_VARIABLE_INVALID", "root.steps[0].itemVar", "error")
    assert said in problem.message


def test_an_inner_loop_may_not_hide_the_outer_item() -> None:
    (problem,) = flow(each("l", "[1]", each("m", "[2]")))
    assert (problem.code, problem.path) == ("LOOP_VARIABLE_SHADOWED", "root.steps[0].body.steps[0].itemVar")


@pytest.mark.parametrize("name", ["index", "length", "isFirst", "isLast"])
def test_a_loop_variable_that_hides_what_every_loop_gives_is_a_warning(name: str) -> None:
    (problem,) = flow({**each("l", "[1]"), "itemVar": name})
    where = ("LOOP_VARIABLE_SHADOWED", "root.steps[0].itemVar", "warning")
    assert (problem.code, problem.path, problem.severity) == where


def test_an_item_that_is_named_item_is_hidden_by_loops_inside_only() -> None:
    named = {**each("l", "[1]", echo("a")), "itemVar": "item"}
    assert flow(named) == []
    inside = attempt("t", [each("m", "[2]")], [])
    (problem,) = flow({**named, "body": [inside]})
    assert (problem.code, problem.path) == ("LOOP_VARIABLE_SHADOWED", "root.steps[0].itemVar")
    assert "vars.item" in problem.message


def test_steps_that_undo_cannot_end_the_run() -> None:
    undo = [step("control.if", "i", condition=expr("true"), then=[END])]
    (problem,) = flow({**echo("a"), "onCompensate": undo})
    where = "root.steps[0].onCompensate.steps[0].then.steps[0]"
    assert (problem.code, problem.path, problem.severity) == ("RETURN_IN_COMPENSATION", where, "error")


@pytest.mark.parametrize(
    "ending",
    [
        END,
        {**step("control.if", "i", condition=expr("true"), then=[END]), "else": [{**END, "id": "e"}]},
        step(
            "control.switch", "w", value=expr("1"), cases=[{"equals": 1, "steps": [END]}], default=[{**END, "id": "e"}]
        ),
        attempt("t", [END], [{**END, "id": "e"}]),
    ],
    ids=["return", "if", "switch", "tryCatch"],
)
def test_what_stands_behind_a_sure_end_is_never_reached(ending: dict[str, Any]) -> None:
    (problem,) = flow(ending, echo("late"))
    assert (problem.code, problem.path, problem.severity) == ("UNREACHABLE_STEP", "root.steps[1]", "warning")
    assert "root.steps[0] ends the run" in problem.message


@pytest.mark.parametrize(
    "maybe",
    [
        step("control.if", "i", condition=expr("true"), then=[END]),
        each("l", "[1]", END),
        attempt("t", [END], []),
        side([END], [echo("a")]),
    ],
    ids=["if without else", "loop", "catch that goes on", "branch"],
)
def test_what_may_be_reached_is_let_alone(maybe: dict[str, Any]) -> None:
    assert flow(maybe, echo("late")) == []


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("event", step("event.wait", "w", config={"eventName": "E", "correlationKey": expr("1")})),
        ("eventName", step("human.task", "w", config={"taskType": "t", "title": expr("'T'")})),
        ("timeWait", step("time.wait", "w", config={"mode": "duration", "durationMs": 1})),
        (
            "childRun",
            step("control.callWorkflow", "w", workflowId="c", workflowVersion=1, outputMapping={"n": expr("childRun")}),
        ),
    ],
)
def test_a_loop_variable_has_no_name_that_a_step_inside_gives(name: str, inside: dict[str, Any]) -> None:
    loop = {**each("l", "[1]", attempt("t", [inside], [])), "itemVar": name}
    (problem,) = flow(loop)
    assert (problem.code, problem.path, problem.severity) == ("LOOP_VARIABLE_INVALID", "root.steps[0].itemVar", "error")
    assert f"{inside['type']} 'w'" in problem.message
    assert flow({**loop, "body": [echo("a")]}, inside) == []


def test_a_variable_that_nothing_sets_is_named_with_what_is_near() -> None:
    (problem,) = flow(assign("a", total="1"), assign("b", y="vars.totl + 1"))
    assert (problem.code, problem.severity, problem.suggestion) == ("VARIABLE_NOT_DEFINED", "warning", "total")
    assert problem.path.startswith("root.steps[1].config.assign")


def test_a_variable_that_is_set_later_only_says_so() -> None:
    (problem,) = flow(assign("a", y="vars.x"), assign("b", x="1"))
    assert "one that comes later does" in problem.message


@pytest.mark.parametrize(
    "steps",
    [
        [each("l", "[1]", assign("a", n="coalesce(vars.m, 0)"), assign("b", m="1"))],
        [side([assign("a", n="vars.m")], [assign("b", m="1")])],
        [step("control.if", "i", condition=expr("true"), then=[assign("a", n="1")]), assign("b", m="vars.n")],
        [attempt("t", [echo("saved")], [assign("c", e="vars.problem.category")])],
        [each("l", "[1]", assign("a", n="vars.x"))],
    ],
    ids=["a later pass", "another branch", "one branch", "the captured error", "the item"],
)
def test_what_may_have_been_set_is_let_alone(steps: list[dict[str, Any]]) -> None:
    assert [problem for problem in flow(*steps) if problem.code == "VARIABLE_NOT_DEFINED"] == []
