"""Loop variables, unreachable steps, variables that nothing sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.interpreted import document
from harness.own_definitions import OWN, Own, assign, attempt, each, echo, expr, side, step
from harness.random_definitions import CATEGORIES, definitions
from workflows_core.actions.registry import ActionRegistry
from workflows_core.definitions.model import Step
from workflows_core.definitions.parse import parse_definition
from workflows_core.definitions.walk import walk_steps
from workflows_core.errors import Problem
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.simulation.fixtures import Fixtures
from workflows_core.simulation.simulate import simulate
from workflows_core.validation.flow import (
    compensation_problems,
    loop_variable_problems,
    unreachable_problems,
    variable_problems,
)
from workflows_core.validation.targets import assign_targets

END = step("control.return", "end")
CASES: list[Any] = [1, "1", True, 0, False, None, "null"]
ENGINE = JlensEngine()


def flow(*steps: dict[str, Any], **extra: Any) -> list[Problem]:
    definition = parse_definition({**document(*steps), **extra})
    return [
        *loop_variable_problems(definition),
        *compensation_problems(definition),
        *unreachable_problems(definition),
        *variable_problems(definition, ENGINE),
    ]


def test_of_many_names_that_are_wrong_the_first_have_a_suggestion() -> None:
    problems = flow(assign("set", known="1"), *(assign(f"s{n}", **{f"v{n}": "vars.knovn"}) for n in range(60)))
    assert [problem.suggestion for problem in problems] == ["known"] * 50 + [None] * 10


def test_branches_side_by_side_are_each_looked_through_a_few_times_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # For each branch all of them were: a definition of three thousand, which may be published, took a minute.
    looked: list[str] = []

    def targets(path: str, found: Step) -> Iterator[tuple[str, str, str | None]]:
        looked.append(found.id)
        return assign_targets(path, found)

    monkeypatch.setattr("workflows_core.validation.flow.assign_targets", targets)
    assert flow(side(*([assign(f"a{number}", **{f"v{number}": "1"})] for number in range(100)))) == []
    assert len(looked) < 1_000


def test_an_assignment_sees_what_those_before_it_in_its_step_set() -> None:
    given = {"vars.a": expr("vars.b"), "vars.b": expr("1"), "vars.c": expr("vars.a + vars.b")}
    (problem,) = flow(step("transform.assign", "s", config={"assign": given}))
    assert problem.path == 'root.steps[0].config.assign["vars.a"]'
    assert "this one does afterwards" in problem.message


@pytest.mark.parametrize("own", OWN, ids=lambda own: own.name)
def test_definitions_that_run_have_none(own: Own) -> None:
    shadowed = ["LOOP_VARIABLE_SHADOWED"] if own.name == "loops inside loops" else []
    assert [problem.code for problem in flow(*own.steps, **own.extra)] == shadowed


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
    (problem,) = flow({**echo("a"), "onCompensate": undo}, compensateOn=["failure"])
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
        side([END], [echo("a")]),
        side([END], [{**END, "id": "e"}], wait="any"),
    ],
    ids=["return", "if", "switch", "tryCatch", "parallel all", "parallel any"],
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
        side([END], [echo("a")], wait="any"),
        step("control.switch", "w", value=expr("1"), cases=[{"equals": v, "steps": [echo(f"c{v}")]} for v in CASES]),
    ],
    ids=["if without else", "loop", "catch that goes on", "branch", "cases that differ"],
)
def test_what_may_be_reached_is_let_alone(maybe: dict[str, Any]) -> None:
    assert flow(maybe, echo("late")) == []


@pytest.mark.parametrize("extra", [{}, {"compensateOn": []}], ids=["absent", "empty"])
def test_steps_that_undo_before_no_end_of_the_run_are_never_reached(extra: dict[str, Any]) -> None:
    """Whoever forgot it heard nothing, and nothing was undone."""
    undone = each("l", "[1]", {**echo("a"), "onCompensate": [echo("u")]}), {**echo("b"), "onCompensate": [echo("v")]}
    (problem,) = flow(*undone, **extra)
    where = "root.steps[0].body.steps[0].onCompensate.steps[0]"
    assert (problem.code, problem.path, problem.severity) == ("UNREACHABLE_STEP", where, "warning")
    assert "no compensateOn" in problem.message
    assert flow(*undone, compensateOn=["cancel"]) == flow({**echo("a"), "onCompensate": []}) == []


def test_a_case_whose_value_an_earlier_one_has_is_never_reached() -> None:
    cases = [{"equals": v, "steps": [echo(f"c{i}"), echo(f"d{i}")]} for i, v in enumerate([1, "a", 1.0, "a", True])]
    problems = flow(step("control.switch", "w", value=expr("payload.v"), cases=cases))
    assert [(problem.code, problem.path, problem.severity) for problem in problems] == [
        ("UNREACHABLE_STEP", "root.steps[0].cases[2].steps[0]", "warning"),
        ("UNREACHABLE_STEP", "root.steps[0].cases[3].steps[0]", "warning"),
    ]
    assert "cases[0]" in problems[0].message


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
    ("early", "where"),
    [
        (assign("a", n="vars.n + 1"), "config.assign"),
        (assign("a", m="vars.n", n="1"), "config.assign"),
        (step("control.if", "i", condition=expr("vars.n = 1"), then=[assign("a", n="2")]), "condition"),
        (step("control.if", "i", condition=expr("true"), then=[assign("a", m="vars.n"), assign("b", n="1")]), "then"),
        (each("l", "vars.n", assign("a", n="[1]")), "items"),
        (echo("n", "vars.n"), "config.inputMapping"),
        (assign("a", n="$assert(vars.n = 1, 'not one')"), "config.assign"),
        (attempt("t", [assign("a", m="vars.problem")], [echo("n")]), "try"),
    ],
    ids=["itself", "in order", "condition", "inside a branch", "items", "an input", "failing", "the error, before"],
)
def test_what_a_step_sets_is_not_set_before_it(early: dict[str, Any], where: str) -> None:
    (problem,) = flow(early)
    assert (problem.code, problem.severity) == ("VARIABLE_NOT_DEFINED", "warning")
    assert problem.path.startswith(f"root.steps[0].{where}")


@pytest.mark.parametrize(
    "steps",
    [
        [each("l", "[1]", assign("a", n="coalesce(vars.m, 0)"), assign("b", m="1"))],
        [side([assign("a", n="vars.m")], [assign("b", m="1")])],
        [step("control.if", "i", condition=expr("true"), then=[assign("a", n="1")]), assign("b", m="vars.n")],
        [attempt("t", [echo("saved")], [assign("c", e="vars.problem.category")])],
        [each("l", "[1]", assign("a", n="vars.x"))],
        [each("l", "[1]", assign("a", n="vars.n + 1"))],
        [step("control.while", "w", condition=expr("vars.n < 3"), maxIterations=9, body=[assign("a", n="1")])],
        [assign("a", n="coalesce(vars.n, 0) + 1"), assign("b", l="append(vars.l, payload.x)", t="vars.t & 'x'")],
        [assign("a", n="vars.n + payload.step")],
        [assign("a", n="1", m="vars.n")],
        [{**assign("a", m="vars.n", n="1"), "retry": {"maxAttempts": 2, "backoffMs": 1}}],
        [step("control.if", "i", condition=expr("coalesce(vars.n, 0) = 0"), then=[assign("a", n="2")])],
        [each("l", "[1]", assign("a", n="1"), collect=expr("vars.n"), saveAs="all")],
        [step("time.wait", "w", config={"mode": "duration", "durationMs": 1, "assign": {"m": expr("vars.timeWait")}})],
        [{**echo("n"), "onCompensate": [echo("u", "vars.n.id & vars.later")]}, echo("later")],
    ],
    ids=[
        "a later pass",
        "another branch",
        "one branch",
        "the captured error",
        "the item",
        "itself, in another pass",
        "a pass before the condition",
        "made for nothing before",
        "nobody knows",
        "in order",
        "another attempt",
        "a condition that provides",
        "what a pass collects",
        "what the runtime gives",
        "what is undone at the end",
    ],
)
def test_what_may_have_been_set_is_let_alone(steps: list[dict[str, Any]]) -> None:
    assert [problem for problem in flow(*steps) if problem.code == "VARIABLE_NOT_DEFINED"] == []


def reading(found: Any, names: list[str]) -> Any:
    """The definition with a variable that each assignment reads, and appends to another; few of its returns stay."""
    if isinstance(found, list):
        return [reading(one, names) for one in found]
    if not isinstance(found, dict):
        return found
    number = int(found["id"][1:]) if found.get("id", "wf") != "wf" else 0
    if found.get("type") == "transform.assign" or (found.get("type") == "control.return" and number % 4):
        read, written = names[number % len(names)], names[number // 2 % len(names)]
        return assign(found["id"], **{written: f"append(vars.{read}, '{found['id']}')"})
    return {name: reading(one, names) for name, one in found.items()}


@pytest.mark.asyncio
@settings(max_examples=150)
@given(
    definition=definitions(depth=3),
    names=st.lists(st.sampled_from(["p", "q", "i", "j", "x", "caught", "all_i"]), min_size=2, max_size=5, unique=True),
    failing=st.dictionaries(st.integers(1, 20), st.sampled_from(CATEGORIES), max_size=4),
)
async def test_what_is_said_of_a_random_definition_holds_in_its_simulation(
    definition: dict[str, Any], names: list[str], failing: dict[int, str]
) -> None:
    parsed = parse_definition(reading(definition, names))
    problems = [*unreachable_problems(parsed), *variable_problems(parsed, ENGINE)]
    ids = {step.id for _, step in walk_steps(parsed)}
    answers = {f"s{number}": {"$error": {"category": category}} for number, category in failing.items()}
    fixtures = Fixtures.of({name: answer for name, answer in answers.items() if name in ids})
    report = await simulate(parsed, ActionRegistry.of({}), fixtures=fixtures, explain=True)
    visited = {entry.step_id for entry in report.trace}
    explained = [one for entry in report.trace for one in entry.explained]
    for problem in problems:
        if problem.code == "UNREACHABLE_STEP":
            assert problem.step_id not in visited
        else:
            seen = [one["reads"] for one in explained if one["expression"].endswith(f"'{problem.step_id}')")]
            assert all(set(reads.values()) == {"(no value)"} for reads in seen)
