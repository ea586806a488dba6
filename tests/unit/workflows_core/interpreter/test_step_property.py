"""The interpreter against the reference evaluator, with the state carried as JSON at random moments."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.random_definitions import CATEGORIES, definitions
from harness.readable import readable
from harness.reference import Reference, Seen
from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import Failure
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter.compile import compile_plan
from workflows_core.interpreter.endings import may_end_next
from workflows_core.interpreter.messages import (
    ActionStepFailed,
    ActionSucceeded,
    Begin,
    CancelAction,
    CancelTimer,
    Command,
    RunAction,
    StartTimer,
    TimerFired,
)
from workflows_core.interpreter.state import RunIdentity, State
from workflows_core.interpreter.step import initial_state, outstanding, step

ENGINE = JlensEngine()


def drive(definition: dict[str, Any], failures: dict[str, list[str]], carry: list[bool], max_steps: int | None) -> Seen:
    """Runs a definition through `step`, answering commands in their order; `carry` says when the state is JSON."""
    plan = compile_plan(parse_definition(definition), ENGINE)
    identity = RunIdentity("run", "tenant", "wf", 1, "hash", None)
    state = initial_state(plan, identity, payload={}, meta={}, started_at=0)
    seen, at, moment = Seen(), 0, 0
    pending: list[Command] = []
    answer: Any = Begin(at)
    while True:
        before = json.dumps(state.to_checkpoint())
        ends = isinstance(answer, ActionSucceeded) and max_steps is None and may_end_next(plan, state)
        following, commands = step(plan, state, answer, max_steps=max_steps)
        assert json.dumps(state.to_checkpoint()) == before, "step changed the state it was given"
        state = following
        if ends:
            assert following.outcome is not None or following.ending is not None, "an answer was needed to end"
        for command in commands:
            if isinstance(command, RunAction):
                seen.calls.append((command.step_id, command.attempt))
            if isinstance(command, (CancelAction, CancelTimer)):
                pending = [one for one in pending if getattr(one, "command_id", "") != command.command_id]
            else:
                pending.append(command)
        if state.outcome is not None:
            break
        moment += 1
        if carry and carry[moment % len(carry)]:
            order = [getattr(one, "command_id", "") for one in pending]
            state = State.from_checkpoint(json.loads(json.dumps(state.to_checkpoint())))
            again = {getattr(one, "command_id", ""): one for one in outstanding(plan, state)}
            assert sorted(again) == sorted(order)
            pending = [again[command_id] for command_id in order]
        at += 1
        answer = Begin(at) if state.runnable else _answer(pending.pop(0), failures, at)
        at = max(at, answer.at)
    seen.status = state.outcome.status
    seen.result = state.outcome.result
    seen.vars = readable(state.scopes.vars)
    return seen


def _answer(command: Command, failures: dict[str, list[str]], at: int) -> Any:
    match command:
        case RunAction():
            scripted = failures.get(command.step_id, [])
            if command.attempt > len(scripted):
                return ActionSucceeded(command.command_id, at, {"attempt": command.attempt}, 10, True)
            return ActionStepFailed(command.command_id, at, Failure(scripted[command.attempt - 1], "scripted"), True)
        case StartTimer():
            return TimerFired(command.command_id, max(at, command.due_at))
    raise AssertionError(command)


@settings(max_examples=400, deadline=None)
@given(
    definition=definitions(refused_too=True),
    failures=st.dictionaries(
        st.integers(1, 25).map(lambda n: f"s{n}"), st.lists(st.sampled_from(CATEGORIES), max_size=3), max_size=8
    ),
    carry=st.lists(st.booleans(), max_size=5),
    max_steps=st.none() | st.integers(1, 4),
)
def test_agrees_with_the_reference_wherever_the_state_is_carried(
    definition: dict[str, Any], failures: dict[str, list[str]], carry: list[bool], max_steps: int | None
) -> None:
    expected = Reference(definition, failures).run()
    found = drive(definition, failures, carry, max_steps)
    assert (found.status, found.result, found.vars, found.calls) == (
        expected.status,
        expected.result,
        expected.vars,
        expected.calls,
    )
