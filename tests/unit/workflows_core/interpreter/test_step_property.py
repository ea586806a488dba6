"""The interpreter against the reference evaluator, with the state carried as JSON at random moments."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.random_definitions import TIMED_OUT, InTurn, category_of, definitions, scripts
from harness.readable import readable
from harness.reference import Reference, Seen, Visit
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
    """A run whose commands are answered in any order, and whose state is JSON where `carry` says so.

    Where `recorded`, an action writes its own row, as regular ones do.
    """

    def __init__(self, definition: dict[str, Any], failures: InTurn, carry: list[bool], recorded: bool = False) -> None:
        self.plan = compile_plan(parse_definition(definition), ENGINE)
        identity = RunIdentity("run", "tenant", "wf", 1, "hash", None)
        self.state = initial_state(self.plan, identity, payload={}, meta={}, started_at=0)
        self.failures = failures
        self.carry = carry
        self.recorded = recorded
        self.seen = Seen()
        self.pending: list[Command | ChildEnd] = []
        self.launched = ""

    def run(self, max_steps: int | None, order: list[int], cancelled_after: int | None = None) -> Seen:
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
                chosen = order[answers % len(order)] % len(self.pending)
                answers += 1
                event = self.answer(self.pending.pop(chosen), at)
            at = max(at, event.at)
        assert self.state.outcome is not None
        self.seen.status = self.state.outcome.status
        self.seen.result = self.state.outcome.result
        if self.seen.status == "FAILED" and self.state.outcome.failure is not None:
            self.seen.category = self.state.outcome.failure.category
        self.seen.vars = readable({name: one for name, one in self.state.scopes.vars.items() if name != "timeWait"})
        return self.seen

    def is_over(self, event: Event, max_steps: int | None) -> bool:
        """Applies an event."""
        before, text = self.state, json.dumps(self.state.to_checkpoint())
        ends = isinstance(event, ActionSucceeded) and max_steps is None and may_end_next(self.plan, self.state)
        following, commands = step(self.plan, self.state, event, max_steps=max_steps)
        assert json.dumps(before.to_checkpoint()) == text, "step changed the state it was given"
        self.state = following
        self.note(before)
        if ends:
            assert following.outcome is not None or following.ending is not None, "an answer was needed to end"
        for command in commands:
            self.take(command)
        if isinstance(event, ChildLaunched):
            self.pending.append(ChildEnd(self.launched))
        return following.outcome is not None

    def note(self, before: State) -> None:
        """The rows that the event has added."""
        known = {id(entry) for entry in before.outbox.entries}
        for entry in self.state.outbox.entries:
            if entry.kind == "step" and id(entry) not in known:
                row = entry.record
                self.row(row["step_path"], row["step_type"], row["status"], row["attempt"])

    def row(self, path: str, kind: str, status: str, attempt: int) -> None:
        visit = self.seen.trace.setdefault(path, Visit(kind))
        visit.status, visit.attempt = status, attempt

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
                failing = self.failing("action.call", command.step_id, command.attempt)
                if self.recorded:
                    self.row(command.step_path, "action.call", "FAILED" if failing else "SUCCEEDED", command.attempt)
                if failing is None:
                    output = {"attempt": command.attempt}
                    return ActionSucceeded(command.command_id, at, output, 10, self.recorded)
                return ActionStepFailed(command.command_id, at, Failure(failing, "scripted"), self.recorded)
            case LaunchChild():
                self.launched = command.child_run_id
                return ChildLaunched(command.command_id, at)
            case ChildEnd():
                step_id, pending = self.waiting(None, command.child_run_id)
                if self.failing("control.callWorkflow", step_id, pending.attempt) is None:
                    return _event(pending, {"status": "SUCCEEDED", "result": {"result": pending.attempt}}, at)
                return _event(pending, {"status": "FAILED", "error": {"message": "scripted"}}, at)
            case StartTimer() if command.command_id.endswith(":wait"):
                step_id, pending = self.waiting(command.command_id)
                failing = self.failing("event.wait", step_id, pending.attempt)
                if pending.kind == "event" and failing != TIMED_OUT:
                    return _event(pending, {} if failing else {"n": pending.attempt}, at)
        assert isinstance(command, StartTimer)
        return TimerFired(command.command_id, max(at, command.due_at))

    def failing(self, kind: str, step_id: str, attempt: int) -> str | None:
        return category_of({"type": kind, "id": step_id}, self.failures, attempt)


def _child_of(pending: Pending) -> Any:
    return pending.remembered.get("childRunId")


def _event(pending: Pending, payload: Any, at: int) -> EventReceived:
    wait = pending.wait
    assert wait is not None
    signal = EventSignal(f"e{at}", str(wait["event_name"]), wait["key"], payload, wait_id=wait["wait_id"])
    return EventReceived(signal, at)


def agree(found: Seen, expected: Seen) -> None:
    assert (found.status, found.result, found.category, found.vars, found.calls, sorted(found.visits)) == (
        expected.status,
        expected.result,
        expected.category,
        expected.vars,
        expected.calls,
        sorted(expected.visits),
    )


ORDER = st.just([0]) | st.lists(st.integers(0, 5), min_size=1, max_size=5)
"""Which of the open questions is answered next, as often as there are several."""
CARRY = st.lists(st.booleans(), max_size=5)


@settings(max_examples=300)
@given(
    definition=definitions(refused_too=True),
    failures=scripts(),
    carry=CARRY,
    max_steps=st.none() | st.integers(1, 4),
    order=ORDER,
)
def test_agrees_with_the_reference_wherever_the_state_is_carried(
    definition: dict[str, Any],
    failures: InTurn,
    carry: list[bool],
    max_steps: int | None,
    order: list[int],
) -> None:
    agree(Driven(definition, failures, carry).run(max_steps, order), Reference(definition, failures).run(order))


@settings(max_examples=350)
@given(
    definition=definitions(refused_too=True, waiting=True),
    failures=scripts(),
    carry=CARRY,
    max_steps=st.none() | st.integers(1, 4),
    order=ORDER,
    cancelled_after=st.none() | st.integers(0, 4),
    recorded=st.booleans(),
)
def test_agrees_with_the_reference_on_waits_and_whenever_it_is_cancelled(
    definition: dict[str, Any],
    failures: InTurn,
    carry: list[bool],
    max_steps: int | None,
    order: list[int],
    cancelled_after: int | None,
    recorded: bool,
) -> None:
    found = Driven(definition, failures, carry, recorded).run(max_steps, order, cancelled_after)
    agree(found, Reference(definition, failures).run(order, cancelled_after))
