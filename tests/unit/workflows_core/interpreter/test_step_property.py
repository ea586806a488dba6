"""The interpreter against the reference evaluator, with the state carried as JSON at random moments."""

from __future__ import annotations

import json
from dataclasses import dataclass
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
    CancelChild,
    CancelRequested,
    CancelTimer,
    ChildLaunched,
    Command,
    Event,
    EventReceived,
    LaunchChild,
    RunAction,
    StartTimer,
    TimerFired,
)
from workflows_core.interpreter.state import Pending, RunIdentity, State
from workflows_core.interpreter.step import initial_state, outstanding, step
from workflows_core.wire.messages import EventSignal

ENGINE = JlensEngine()


@dataclass(frozen=True)
class ChildEnd:
    """The end of a child, which nobody commands."""

    child_run_id: str


class Driven:
    """A run whose commands are answered in their order, and whose state is JSON where `carry` says so."""

    def __init__(self, definition: dict[str, Any], failures: dict[str, list[str]], carry: list[bool]) -> None:
        self.plan = compile_plan(parse_definition(definition), ENGINE)
        identity = RunIdentity("run", "tenant", "wf", 1, "hash", None)
        self.state = initial_state(self.plan, identity, payload={}, meta={}, started_at=0)
        self.failures = failures
        self.carry = carry
        self.seen = Seen()
        self.pending: list[Command | ChildEnd] = []
        self.launched = ""

    def run(self, max_steps: int | None, cancelled_after: int | None) -> Seen:
        """To its end; a cancel comes after so many answers."""
        answers = at = moment = 0
        event: Event = Begin(at)
        while not self.is_over(event, max_steps):
            moment += 1
            if self.carry and self.carry[moment % len(self.carry)]:
                self.carry_over()
            at += 1
            if self.state.runnable:
                event = Begin(at)
            elif answers == cancelled_after and self.state.ending is None:
                event, cancelled_after = CancelRequested(at), None
            else:
                if answers == cancelled_after:
                    # One that comes while it undoes changes nothing.
                    self.state, commands = step(self.plan, self.state, CancelRequested(at))
                    assert commands == ()
                answers += 1
                event = self.answer(self.pending.pop(0), at)
            at = max(at, event.at)
        assert self.state.outcome is not None
        self.seen.status = self.state.outcome.status
        self.seen.result = self.state.outcome.result
        self.seen.vars = readable({name: one for name, one in self.state.scopes.vars.items() if name != "timeWait"})
        return self.seen

    def is_over(self, event: Event, max_steps: int | None) -> bool:
        """Applies an event."""
        before = json.dumps(self.state.to_checkpoint())
        ends = isinstance(event, ActionSucceeded) and max_steps is None and may_end_next(self.plan, self.state)
        following, commands = step(self.plan, self.state, event, max_steps=max_steps)
        assert json.dumps(self.state.to_checkpoint()) == before, "step changed the state it was given"
        self.state = following
        if ends:
            assert following.outcome is not None or following.ending is not None, "an answer was needed to end"
        for command in commands:
            self.take(command)
        if isinstance(event, ChildLaunched):
            self.pending.append(ChildEnd(self.launched))
        return following.outcome is not None

    def take(self, command: Command) -> None:
        """Notes what is asked, and forgets what is of no interest any more."""
        if isinstance(command, (RunAction, LaunchChild)):
            self.seen.calls.append((command.step_id, int(command.command_id.rsplit("@", 1)[1])))
        elif isinstance(command, StartTimer) and command.command_id.endswith(":wait"):
            # Its summary begins with the step's id; the wait itself may be closed again.
            attempt = command.command_id.rsplit("@", 1)[1].removesuffix(":wait")
            self.seen.calls.append((command.summary.split(":")[0], int(attempt)))
        if isinstance(command, (CancelAction, CancelTimer)):
            self.pending = [one for one in self.pending if getattr(one, "command_id", "") != command.command_id]
        elif isinstance(command, CancelChild):
            self.pending = [one for one in self.pending if getattr(one, "child_run_id", "") != command.child_run_id]
        else:
            self.pending.append(command)

    def carry_over(self) -> None:
        """The state as JSON and back, and the commands that it waits for again."""
        order = [getattr(one, "command_id", one) for one in self.pending]
        self.state = State.from_checkpoint(json.loads(json.dumps(self.state.to_checkpoint())))
        again = {getattr(one, "command_id", ""): one for one in outstanding(self.plan, self.state)}
        assert sorted(again) == sorted(one for one in order if isinstance(one, str))
        self.pending = [again[one] if isinstance(one, str) else one for one in order]

    def waiting(self, command_id: str | None, child_run_id: str | None = None) -> tuple[str, Pending]:
        """Id of the step that waits for this, and what it knows of it."""
        for frame in self.state.frames.values():
            pending = frame.pending
            if pending is None:
                continue
            if pending.command_id == command_id or (child_run_id and _child_of(pending) == child_run_id):
                return self.plan.blocks[frame.block][frame.position].id, pending
        raise AssertionError(command_id)

    def answer(self, command: Command | ChildEnd, at: int) -> Event:
        """As the scripts have it."""
        match command:
            case RunAction():
                scripted = self.failures.get(command.step_id, [])
                if command.attempt > len(scripted):
                    return ActionSucceeded(command.command_id, at, {"attempt": command.attempt}, 10, True)
                failure = Failure(scripted[command.attempt - 1], "scripted")
                return ActionStepFailed(command.command_id, at, failure, True)
            case LaunchChild():
                self.launched = command.child_run_id
                return ChildLaunched(command.command_id, at)
            case ChildEnd():
                step_id, pending = self.waiting(None, command.child_run_id)
                if pending.attempt > len(self.failures.get(step_id, [])):
                    return _event(pending, {"status": "SUCCEEDED", "result": {"result": pending.attempt}}, at)
                return _event(pending, {"status": "FAILED", "error": {"message": "scripted"}}, at)
            case StartTimer() if command.command_id.endswith(":wait"):
                step_id, pending = self.waiting(command.command_id)
                if pending.kind == "event" and pending.attempt > len(self.failures.get(step_id, [])):
                    return _event(pending, {"n": pending.attempt}, at)
        assert isinstance(command, StartTimer)
        return TimerFired(command.command_id, max(at, command.due_at))


def _child_of(pending: Pending) -> Any:
    return pending.remembered.get("childRunId")


def _event(pending: Pending, payload: Any, at: int) -> EventReceived:
    wait = pending.wait
    assert wait is not None
    signal = EventSignal(f"e{at}", str(wait["event_name"]), wait["key"], payload, wait_id=wait["wait_id"])
    return EventReceived(signal, at)


def _failures(steps: int) -> st.SearchStrategy[dict[str, list[str]]]:
    """How the first attempts of some of the first steps fail."""
    scripts = st.lists(st.sampled_from(CATEGORIES), max_size=3)
    return st.dictionaries(st.integers(1, steps).map(lambda n: f"s{n}"), scripts, max_size=8)


def agree(found: Seen, expected: Seen) -> None:
    assert (found.status, found.result, found.vars, found.calls) == (
        expected.status,
        expected.result,
        expected.vars,
        expected.calls,
    )


@settings(max_examples=400, deadline=None)
@given(
    definition=definitions(refused_too=True),
    failures=_failures(25),
    carry=st.lists(st.booleans(), max_size=5),
    max_steps=st.none() | st.integers(1, 4),
)
def test_agrees_with_the_reference_wherever_the_state_is_carried(
    definition: dict[str, Any], failures: dict[str, list[str]], carry: list[bool], max_steps: int | None
) -> None:
    agree(Driven(definition, failures, carry).run(max_steps, None), Reference(definition, failures).run())


@settings(max_examples=600, deadline=None)
@given(
    definition=definitions(depth=2, refused_too=True, waiting=True),
    failures=_failures(8),
    carry=st.lists(st.booleans(), max_size=5),
    max_steps=st.none() | st.integers(1, 4),
    cancelled_after=st.none() | st.integers(0, 4),
)
def test_agrees_with_the_reference_on_waits_and_whenever_it_is_cancelled(
    definition: dict[str, Any],
    failures: dict[str, list[str]],
    carry: list[bool],
    max_steps: int | None,
    cancelled_after: int | None,
) -> None:
    found = Driven(definition, failures, carry).run(max_steps, cancelled_after)
    agree(found, Reference(definition, failures, cancelled_after).run())
