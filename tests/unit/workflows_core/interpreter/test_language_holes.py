"""Holes of the original's language that need no server to be seen closed; the others are named after their numbers
where the behaviour is tested."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

import pytest

from harness.interpreted import Run, act, document, wait
from workflows_core.definitions.parse import parse_definition
from workflows_core.execution.beginning import first_state
from workflows_core.execution.compiled_plans import PLANS
from workflows_core.execution.plans import compiled_plan, plan_for, use_plans
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter.compile import compile_plan
from workflows_core.interpreter.correlation import MAX_KEY_BYTES
from workflows_core.interpreter.matching import filter_problem
from workflows_core.interpreter.messages import Begin
from workflows_core.interpreter.state import SEMANTICS_VERSION, State
from workflows_core.interpreter.step import initial_state, step
from workflows_core.wire.messages import RunInput
from workflows_core.wire.records import LoadedRun

PATHS = ["vars.a.b", "a.b", "payload.a.b", "/a/b"]
PLACES = {"vars.a.b": ("vars", "a"), "a.b": ("vars", "a"), "payload.a.b": ("payload", "a"), "/a/b": ("payload", "a")}


def place(run: Run, path: str) -> Any:
    scope, name = PLACES[path]
    return getattr(run.state.scopes, scope)[name]["b"]


@pytest.mark.parametrize("path", PATHS)
def test_hole_24_an_assignment_path_means_the_same_wherever_it_stands(path: str) -> None:
    saved = Run(act(path))
    saved.succeed(5)
    waited = Run(wait(assign={path: {"$expr": "event.n"}}))
    waited.signal(payload={"n": 5})
    fail = {"id": "x", "type": "transform.assign", "config": {"assign": {"vars.x": {"$expr": "payload.none"}}}}
    caught = Run({"type": "control.tryCatch", "try": [fail], "catch": [], "captureErrorAs": path})
    loop = {"type": "control.forEach", "items": {"$expr": "[5]"}, "itemVar": "i", "body": []}
    collected = Run({**loop, "collect": {"$expr": "i"}, "saveAs": path})
    assert [place(run, path) for run in (saved, waited)] == [5, 5]
    assert place(collected, path) == [5]
    assert place(caught, path)["category"] == "ExpressionError"
    if "." in path and path.split(".", maxsplit=1)[0] in ("vars", "payload"):
        assigned = Run({"type": "transform.assign", "config": {"assign": {path: {"$expr": "5"}}}})
        assert place(assigned, path) == 5


def test_hole_24_a_filter_is_judged_once_when_it_is_resolved() -> None:
    assert filter_problem({"path": "x", "op": "in", "value": "no list"}) is not None
    wanted = {"$expr": "payload.wanted"}
    run = Run(wait(filters=[{"path": "n", "op": "in", "value": wanted}]), payload={"id": "k1", "wanted": "no list"})
    assert run.failure.code == "FILTER_INVALID"


def test_hole_19_two_equal_signs_in_a_text_stay_and_a_missing_path_has_a_word() -> None:
    config = {"assign": {"vars.text": {"$expr": "'a == b'"}, "vars.same": {"$expr": "1 == 1"}}}
    run = Run({"type": "transform.assign", "config": config})
    assert run.state.scopes.vars == {"text": "a == b", "same": True}
    gone = Run({"type": "transform.assign", "config": {"assign": {"vars.x": {"$expr": "payload.not.there"}}}})
    assert "'payload.not.there' reads a path that is not there" in gone.failure.message


# Just under the limit of steps, or of work with a long text: a single one takes long, and ends by itself.
COSTLY = "$contains('" + "a" * 19 + "!', /^(a+)+$/)"
BOMB = "$contains('" + "a" * 30 + "!', /^(a+)+$/)"
LONG = "$length($replace(payload.text, /[ab]b?/, 'c'))"


def assigning(*sources: str) -> dict[str, Any]:
    assign = {f"vars.x{number}": {"$expr": source} for number, source in enumerate(sources)}
    return {"type": "transform.assign", "config": {"assign": assign}}


def test_hole_19_a_pattern_that_does_not_end_is_ended_sooner_than_another_expression() -> None:
    assert "limit of 2048 steps" in Run(assigning(BOMB)).failure.message
    assert "limit of 128 steps" in Run(assigning(LONG), payload={"text": "ab" * 120_000}).failure.message
    assert Run(assigning(LONG), payload={"text": "ab" * 500}).state.scopes.vars == {"x0": 500}


def test_hole_19_a_step_of_many_costly_expressions_ends_by_counts() -> None:
    assert Run(assigning(*[COSTLY] * 8)).outcome == "SUCCEEDED"
    assert "limit of 192 steps" in Run(assigning(*[COSTLY] * 9)).failure.message
    assert "more than 1024 expressions" in Run(assigning(*["1"] * 1025)).failure.message
    assert Run(assigning(*["payload.id"] * 1024)).outcome == "SUCCEEDED"


def test_hole_19_a_task_of_many_costly_steps_stops_between_them_and_goes_on() -> None:
    run = Run(*(assigning(COSTLY, COSTLY) for _ in range(6)))
    state = initial_state(run.plan, run.state.identity, payload={}, meta={}, started_at=0)
    turns = 0
    while state.outcome is None:
        state, _ = step(run.plan, state, Begin(turns), max_effort=64)
        turns += 1
    assert (turns, state.scopes.vars) == (4, run.state.scopes.vars)


@pytest.mark.parametrize(
    "bomb", ["$map([1..10000], function($x) { [1..1000] })", "($f := function($n) { $f($n) }; $f(1))"]
)
def test_hole_19_an_expression_that_does_not_end_is_ended_by_counts(bomb: str) -> None:
    run = Run({"type": "transform.assign", "config": {"assign": {"vars.x": {"$expr": bomb}}}})
    assert (run.outcome, run.failure.category) == ("FAILED", "ExpressionError")


def test_hole_22_a_definition_is_planned_once_and_a_run_keeps_its_meaning() -> None:
    use_plans(PLANS)
    definition, known_by = document(act()), "the-hash-of-hole-22"
    assert compiled_plan(known_by) is None
    plan = plan_for(definition, known_by)
    assert plan_for(dict(definition), known_by) is plan
    assert compiled_plan(known_by) is plan
    assert parse_definition(definition)
    run = Run(act())
    older = {**run.state.to_checkpoint(), "semantics": SEMANTICS_VERSION - 1}
    assert State.from_checkpoint(older).semantics == SEMANTICS_VERSION - 1
    assert State.from_checkpoint(run.state.to_checkpoint()).semantics == SEMANTICS_VERSION


LONG_KEY = "k" * (MAX_KEY_BYTES + 1)


def loaded_run(**more: Any) -> LoadedRun:
    """As the load activity gives it, of an execution that began before there was a limit of keys."""
    body = {"started_at": 0, "definition_hash": "hash", "payload": {"id": LONG_KEY}, "meta": {}}
    return cast(LoadedRun, {**body, **more})


@pytest.mark.parametrize("key", ["k" * MAX_KEY_BYTES, LONG_KEY, "\u6f22" * 683, "\U0001f600" * 513])
def test_a_wait_takes_a_key_that_an_index_holds_and_no_longer_one(key: str) -> None:
    run = Run(wait(), payload={"id": key})
    size = len(key.encode())
    if size <= MAX_KEY_BYTES:
        assert [one["key"] for one in run.state.open_waits()] == [key]
        return
    assert (run.outcome, run.failure.category, run.failure.code) == (
        "FAILED",
        "ValidationError",
        "CORRELATION_KEY_TOO_LONG",
    )
    assert run.failure.message == f"the correlation key has {size} bytes, at most {MAX_KEY_BYTES} are taken"


def test_a_wait_whose_key_and_names_no_index_holds_together_fails_its_step() -> None:
    run = Run(wait("N" * 600), payload={"id": "k" * 2000})
    assert (run.failure.code, run.failure.message) == (
        "CORRELATION_KEY_TOO_LONG",
        "tenant, event name and correlation key have 2604 bytes together, at most 2560 are taken",
    )


def test_an_execution_of_before_the_limit_opens_its_waits_as_its_history_says() -> None:
    """Such a key was stored where it could be compressed; the next execution of the run looks."""
    plan = compile_plan(parse_definition(document(act(), wait())), JlensEngine())
    begun = RunInput("run-1", "acme", "wf", 1)
    state = first_state(plan, begun, loaded_run())
    assert state.max_key_bytes is None
    checkpoint = State.from_checkpoint(json.loads(json.dumps(state.to_checkpoint())))
    assert checkpoint.max_key_bytes is None
    run = Run(act(), wait(), payload={"id": LONG_KEY})
    run.state = replace(run.state, max_key_bytes=None)
    run.succeed({})
    assert [one["key"] for one in run.state.open_waits()] == [LONG_KEY]
    continued = replace(begun, checkpoint=json.dumps(run.state.to_checkpoint()))
    after = first_state(run.plan, continued, loaded_run(max_key_bytes=MAX_KEY_BYTES))
    assert (after.max_key_bytes, [one["key"] for one in after.open_waits()]) == (MAX_KEY_BYTES, [LONG_KEY])
