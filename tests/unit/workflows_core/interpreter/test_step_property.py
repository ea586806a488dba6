"""The interpreter against a small recursive evaluator, with the state carried as JSON at random moments."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import Failure
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter.compile import compile_plan
from workflows_core.interpreter.messages import (
    ActionStepFailed,
    ActionSucceeded,
    Begin,
    RunAction,
    StartTimer,
    TimerFired,
)
from workflows_core.interpreter.state import RunIdentity, State
from workflows_core.interpreter.step import initial_state, outstanding, step

ENGINE = JlensEngine()
CATEGORIES = ("ActionError", "TransientError")


@dataclass
class Script:
    """How often each action step fails before it succeeds, and with which category."""

    failures: dict[str, list[str]]


@dataclass
class Seen:
    calls: list[tuple[str, int]] = field(default_factory=list)
    vars: dict[str, Any] = field(default_factory=dict)
    status: str = "SUCCEEDED"


class _Ended(Exception):
    pass


class Reference:
    """Says the same as the interpreter in the most direct way."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.seen = Seen()

    def run(self, steps: list[dict[str, Any]]) -> Seen:
        with suppress(_Ended):
            self.block(steps)
        return self.seen

    def block(self, steps: list[dict[str, Any]]) -> None:
        for one in steps:
            match one["type"]:
                case "transform.assign":
                    for target, expr in one["config"]["assign"].items():
                        self.seen.vars[target.removeprefix("vars.")] = json.loads(expr["$expr"])
                case "control.if":
                    chosen = one["then"] if one["condition"]["$expr"] == "true" else one.get("else", [])
                    self.block(chosen)
                case "control.return":
                    raise _Ended
                case "action.call":
                    self.action(one)

    def action(self, one: dict[str, Any]) -> None:
        failures = self.script.failures.get(one["id"], [])
        retry = one.get("retry", {"maxAttempts": 1})
        for attempt in range(1, retry["maxAttempts"] + 1):
            self.seen.calls.append((one["id"], attempt))
            if attempt > len(failures):
                self.seen.vars[one["config"]["saveAs"]] = {"attempt": attempt}
                return
            wanted = retry.get("retryOn")
            if wanted and failures[attempt - 1] not in wanted:
                break
        if one.get("onError", {}).get("policy") != "continue":
            self.seen.status = "FAILED"
            raise _Ended


def drive(definition: dict[str, Any], script: Script, carry: list[bool]) -> Seen:
    """Runs a definition through `step`, answering commands; `carry` says when the state travels as JSON."""
    plan = compile_plan(parse_definition(definition), ENGINE)
    identity = RunIdentity("run", "tenant", "wf", 1, "hash", None)
    state = initial_state(plan, identity, payload={}, meta={}, started_at=0)
    seen, at, moment = Seen(), 0, 0
    state, commands = step(plan, state, Begin(at))
    pending = list(commands)
    while state.outcome is None:
        moment += 1
        if carry and carry[moment % len(carry)]:
            state = State.from_checkpoint(json.loads(json.dumps(state.to_checkpoint())))
            pending = list(outstanding(plan, state))
        command = pending.pop(0)
        at += 1
        match command:
            case RunAction():
                seen.calls.append((command.step_id, command.attempt))
                failures = script.failures.get(command.step_id, [])
                if command.attempt > len(failures):
                    answer: Any = ActionSucceeded(command.command_id, at, {"attempt": command.attempt}, 10, True)
                else:
                    failure = Failure(failures[command.attempt - 1], "scripted")
                    answer = ActionStepFailed(command.command_id, at, failure, True)
            case StartTimer():
                at = max(at, command.due_at)
                answer = TimerFired(command.command_id, at)
            case _:
                raise AssertionError(command)
        before = json.dumps(state.to_checkpoint())
        next_state, commands = step(plan, state, answer)
        assert json.dumps(state.to_checkpoint()) == before, "step changed the state it was given"
        state = next_state
        pending.extend(commands)
    seen.status = state.outcome.status
    seen.vars = dict(state.scopes.vars)
    return seen


def _steps(counter: list[int], children: st.SearchStrategy[Any] | None) -> st.SearchStrategy[dict[str, Any]]:
    scalar = st.one_of(st.booleans(), st.integers(-50, 50), st.sampled_from(["a", "b c"]))
    assign = st.builds(
        lambda name, value: {
            "type": "transform.assign",
            "config": {"assign": {f"vars.{name}": {"$expr": json.dumps(value)}}},
        },
        st.sampled_from("pqr"),
        scalar,
    )
    retry = st.builds(
        lambda attempts, on: {
            "maxAttempts": attempts,
            "backoffMs": 5,
            **({"retryOn": on} if on else {}),
        },
        st.integers(1, 3),
        st.lists(st.sampled_from(CATEGORIES), max_size=2, unique=True),
    )
    action = st.builds(
        lambda name, again, policy: {
            "type": "action.call",
            "config": {"actionId": "test.act", "version": 1, "saveAs": name},
            **({"retry": again} if again else {}),
            **({"onError": {"policy": policy}} if policy else {}),
        },
        st.sampled_from("xyz"),
        st.none() | retry,
        st.none() | st.sampled_from(["fail", "continue"]),
    )
    leaves: list[st.SearchStrategy[dict[str, Any]]] = [
        assign,
        action,
        st.just({"type": "control.return"}),
    ]
    if children is None:
        return st.one_of(leaves)
    branch = st.builds(
        lambda truth, then, otherwise: {
            "type": "control.if",
            "condition": {"$expr": "true" if truth else "false"},
            "then": then,
            **({"else": otherwise} if otherwise is not None else {}),
        },
        st.booleans(),
        st.lists(children, max_size=3),
        st.none() | st.lists(children, max_size=2),
    )
    return st.one_of(*leaves, branch)


_LEAF = _steps([0], None)
_STEPS = st.lists(_steps([0], _steps([0], _LEAF)), max_size=5)


def _numbered(steps: list[dict[str, Any]], next_id: list[int]) -> list[dict[str, Any]]:
    out = []
    for one in steps:
        next_id[0] += 1
        copy = {"id": f"s{next_id[0]}", **one}
        for name in ("then", "else"):
            if name in copy:
                copy[name] = _numbered(copy[name], next_id)
        out.append(copy)
    return out


@settings(max_examples=200, deadline=None)
@given(
    steps=_STEPS,
    failures=st.dictionaries(
        st.integers(1, 12).map(lambda n: f"s{n}"),
        st.lists(st.sampled_from(CATEGORIES), max_size=3),
        max_size=6,
    ),
    carry=st.lists(st.booleans(), max_size=5),
)
def test_agrees_with_the_reference_wherever_the_state_is_carried(
    steps: list[dict[str, Any]], failures: dict[str, list[str]], carry: list[bool]
) -> None:
    numbered = _numbered(steps, [0])
    definition = {
        "id": "wf",
        "version": 1,
        "name": "wf",
        "payloadSchemaRef": "payload.Empty.v1",
        "steps": numbered,
    }
    expected = Reference(Script(failures)).run(numbered)
    found = drive(definition, Script(failures), carry)
    assert (found.status, found.vars, found.calls) == (
        expected.status,
        expected.vars,
        expected.calls,
    )
