"""A run driven by hand, one step at a time, with the rows that the database would have of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from harness.random_definitions import CATEGORIES, TIMED_OUT, category_of
from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import ErrorCategory, Failure
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter.compile import compile_plan
from workflows_core.interpreter.messages import (
    ActionStepFailed,
    ActionSucceeded,
    Begin,
    ChildLaunched,
    Command,
    Event,
    EventReceived,
    LaunchChild,
    RunAction,
    StartTimer,
    TimerFired,
)
from workflows_core.interpreter.outbox import Outbox
from workflows_core.interpreter.plan import Plan, PlanStep
from workflows_core.interpreter.state import SEMANTICS_VERSION, Frame, Pending, RunIdentity, State
from workflows_core.interpreter.step import initial_state, outstanding, step
from workflows_core.redriving.recorded import Recorded
from workflows_core.redriving.rewinding import Rewound, rewind
from workflows_core.storage.rows import InvocationRow, RunRow, StepRow, WaitRow
from workflows_core.storage.runs import RunTimeline
from workflows_core.wire.compact import compact_bytes
from workflows_core.wire.messages import EventSignal
from workflows_core.wire.names import RUN_ENDED

ENGINE = JlensEngine()
BEGAN = 1_700_000_000_000


@dataclass
class Habits:
    """How a run is driven.

    Attributes:
        failures: Categories with which the first attempts of a call fail, by step id.
        order: Which of the open calls, timers and waits ends next, as often as there is one.
        outputs: What a call gives, by step id.
        own_clock: Whether an action's row is written where it runs, by another clock, as of a regular action.
        continues: Before which of the answers the run goes on as another execution.
        tells_of_times: Whether a write tells of a wait for a time while it is open, as of one that takes long.
    """

    failures: Mapping[str, list[str]] = field(default_factory=dict)
    order: Sequence[int] = (0,)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    own_clock: bool = False
    continues: frozenset[int] = frozenset()
    tells_of_times: bool = True

    def fails(self, step: Any, attempt: int) -> str | None:
        """The category with which the attempt of a step fails from outside."""
        return category_of({"id": step.id, "type": step.type}, self.failures, attempt)


class Driven:
    """A run at work, then ended; `before` has the state just before each of its steps began."""

    def __init__(
        self, plan: Plan, state: State, at: int, habits: Habits, earlier: tuple[Recorded, str] | None = None
    ) -> None:
        self.plan = plan
        self.state = state
        self.began = at
        # The first turn is a moment after the run's row.
        self.at = at + 5
        self.habits = habits
        self.earlier = earlier
        self.before: dict[str, State] = {}
        self.rows: dict[str, StepRow] = {}
        self.calls: dict[str, InvocationRow] = {}
        self.generations: dict[str, int] = {}
        self.waits: dict[str, WaitRow] = {}
        self.payloads: dict[str, Any] = {}
        self._keep()

    def to_its_end(self) -> Driven:
        """Answers whatever it asks for."""
        answers = 0
        while self.state.outcome is None:
            if self.state.runnable:
                self._begin()
                continue
            if answers in self.habits.continues:
                self.state = State.from_checkpoint(json.loads(json.dumps(self.state.to_checkpoint())))
            open_now = [*self._commands(), *self._open_waits()]
            chosen = open_now[self.habits.order[answers % len(self.habits.order)] % len(open_now)]
            answers += 1
            self.at += 10
            self.apply(self._answer(chosen))
        return self

    def apply(self, event: Event) -> None:
        """Only what the event itself does."""
        self.state, _ = step(self.plan, self.state, event, max_steps=0)
        self._keep()

    def recorded(self) -> Recorded:
        """What the database would have."""
        identity = self.state.identity
        metadata, before = None, None
        if self.earlier is not None:
            before, began_at = self.earlier
            metadata = {"redriveOfRunId": before.run.run_id, "fromStepPath": began_at}
        run = RunRow(
            run_id=identity.run_id,
            workflow_id=identity.workflow_id,
            workflow_version=identity.workflow_version,
            status="FAILED",
            waiting_for=None,
            node_path=None,
            trigger_type=None,
            trigger_metadata_json=metadata,
            trigger_fire_key=None,
            event_type=None,
            temporal_workflow_id="",
            temporal_run_id=None,
            definition_hash=identity.definition_hash,
            runtime_semantics_version=self.state.semantics,
            parent_run_id=None,
            root_run_id=None,
            input_json={"id": "k1"},
            result_json=None,
            error_json=None,
            generation=self.state.generation,
            sequence=0,
            started_at=moment(self.began),
            completed_at=None,
            updated_at=moment(self.at),
        )
        rows, calls = list(self.rows.values()), list(self.calls.values())
        timeline = RunTimeline(run, rows, list(self.waits.values()), calls, [], [], None)
        return Recorded(timeline, self.payloads, self.generations if self.state.generation else {}, before)

    def redriven(self, wanted: str, habits: Habits, run_id: str = "new") -> Driven:
        """The run that takes its place, ended."""
        rewound = self.rewound(wanted, run_id)
        state = State.from_checkpoint(json.loads(json.dumps(rewound.state.to_checkpoint())))
        return Driven(self.plan, state, self.at, habits, (self.recorded(), rewound.step_path)).to_its_end()

    def rewound(self, wanted: str, run_id: str = "new") -> Rewound:
        """For a new run of the same version."""
        return rewind(self.plan, self.recorded(), identity_of(run_id), wanted)

    def _begin(self) -> None:
        frame = next(frame for frame in self.state.frames.values() if frame.pending is None)
        if frame.position < len(self.plan.blocks.get(frame.block, ())):
            self.before.setdefault(frame.step_path, self.state)
        self.state, _ = step(self.plan, self.state, Begin(self.at), max_steps=1)
        self._keep()

    def _commands(self) -> list[Command]:
        """What is asked for, but no time-out of what is to be answered."""
        answered = {pending.command_id for _, pending in self._open_waits()}
        found = outstanding(self.plan, self.state)
        return [one for one in found if not isinstance(one, StartTimer) or one.command_id not in answered]

    def _open_waits(self) -> list[tuple[Frame, Pending]]:
        """Those that get an event."""
        found = self.state.pending("event")
        return [(f, p) for f, p in found if self.habits.fails(self._step(f), p.attempt) != TIMED_OUT]

    def _step(self, frame: Frame) -> PlanStep:
        return self.plan.blocks[frame.block][frame.position]

    def _answer(self, chosen: Command | tuple[Frame, Pending]) -> Event:
        match chosen:
            case RunAction():
                return self._called(chosen)
            case StartTimer():
                self.at = max(self.at, chosen.due_at)
                return TimerFired(chosen.command_id, self.at)
            case LaunchChild():
                return self._launched(chosen)
            case (Frame() as frame, Pending() as pending):
                return self._event(frame, pending)
        raise AssertionError(chosen)

    def _launched(self, command: LaunchChild) -> Event:
        """Started, or refused where the script has a passing failure."""
        attempt = int(command.command_id.rpartition("@")[2])
        script = self.habits.failures.get(command.step_id, ())
        if attempt <= len(script) and script[attempt - 1] == CATEGORIES[1]:
            failure = Failure(ErrorCategory.CHILD_WORKFLOW, f"refused {attempt}", code="LAUNCH_REJECTED")
            return ActionStepFailed(command.command_id, self.at, failure, recorded=False)
        return ChildLaunched(command.command_id, self.at)

    def _event(self, frame: Frame, pending: Pending) -> Event:
        wait, failing = pending.wait, self.habits.fails(self._step(frame), pending.attempt)
        assert wait is not None
        payload: Any = {} if failing else {"n": pending.attempt, "at": self.at}
        if wait["event_name"] == RUN_ENDED:
            ended = {"status": "FAILED", "error": {"category": "ActionError", "message": f"child {pending.attempt}"}}
            payload = ended if failing else {"status": "SUCCEEDED", "result": {"result": pending.attempt}}
        event_id = f"{self.state.identity.run_id}:e{len(self.payloads)}"
        self.payloads[event_id] = payload
        signal = EventSignal(event_id, wait["event_name"] or "", wait["key"], payload, wait_id=wait["wait_id"])
        return EventReceived(signal, self.at)

    def _called(self, command: RunAction) -> Event:
        own, at = self.habits.own_clock, self.at
        scripted = self.habits.failures.get(command.step_id, ())
        failing = command.attempt <= len(scripted)
        failure = Failure(scripted[command.attempt - 1], "scripted") if failing else None
        given = {"attempt": command.attempt, "of": command.step_path}
        output = None if failing else self.habits.outputs.get(command.step_id, given)
        call = command.call
        error = None if failure is None else replace(failure, step_path=command.step_path, at=at - 3).to_json()
        if own:
            self.rows[command.step_path] = StepRow(
                step_path=command.step_path,
                visit=1,
                definition_step_id=command.step_id,
                step_type="action.call",
                name=None,
                status="FAILED" if failing else "SUCCEEDED",
                attempt=command.attempt,
                output_json=None,
                error_json=error,
                started_at=moment(at - 5),
                completed_at=moment(at - 3),
                duration_ms=2,
            )
            self.generations[command.step_path] = self.state.generation
        self.calls[command.step_path] = InvocationRow(
            step_path=command.step_path,
            action_id=call["action_id"],
            action_version=call["action_version"],
            idempotency_key=call["idempotency_key"],
            status="FAILED" if failing else "SUCCEEDED",
            attempt=command.attempt,
            starts=0,
            input_json=call["input"],
            output_json=output,
            error_json=error,
            started_at=moment(at - 5),
            completed_at=moment(at - 3),
        )
        if failure is not None:
            return ActionStepFailed(command.command_id, at, failure, recorded=own)
        return ActionSucceeded(command.command_id, at, output, compact_bytes(output), recorded=own)

    def _keep(self) -> None:
        """Writes what is pending, at once."""
        for entry in self.state.outbox.entries:
            if entry.kind == "step":
                record = entry.record
                times = {name: moment(record[name]) for name in ("started_at", "completed_at")}
                facts = {name: record[name] for name in StepRow.__dataclass_fields__ if name in record}
                self.rows[record["step_path"]] = StepRow(**{"duration_ms": None, **facts, **times})
                self.generations[record["step_path"]] = self.state.generation
        self._keep_waits()
        self.state = replace(self.state, outbox=Outbox())

    def _keep_waits(self) -> None:
        for wait in self.state.open_waits():
            if wait["wait_type"] != "time" or self.habits.tells_of_times:
                times = {"timeout_at": moment(wait["timeout_at"]), "look_back_from": moment(wait["look_back_from"])}
                facts = {name: value for name, value in wait.items() if name in WaitRow.__dataclass_fields__} | times
                opened = {"created_at": moment(wait["opened_at"]), "resolved_at": None, "matched_event_id": None}
                self.waits.setdefault(wait["wait_id"], WaitRow(**{"status": "WAITING", **facts, **opened}))
        for entry in self.state.outbox.entries:
            closed = entry.record
            if entry.kind in ("consumed", "closed") and closed["wait_id"] in self.waits:
                outcome, event_id = closed.get("outcome", "RESOLVED"), closed.get("event_id")
                was = self.waits[closed["wait_id"]]
                ended = {"status": outcome, "matched_event_id": event_id, "resolved_at": moment(closed["at"])}
                self.waits[was.wait_id] = replace(was, **ended)


def moment(at: int | None) -> Any:
    """As a row has it."""
    return None if at is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)


def identity_of(run_id: str, version: int = 1) -> RunIdentity:
    """Of a run of the definition."""
    return RunIdentity(run_id, "acme", "wf", version, f"hash-{version}", None)


def planned(definition: Mapping[str, Any]) -> Plan:
    """The definition, ready to run."""
    return compile_plan(parse_definition(definition), ENGINE)


def driven(definition: Mapping[str, Any], habits: Habits | None = None, semantics: int = SEMANTICS_VERSION) -> Driven:
    """A run of the definition, ended."""
    plan = planned(definition)
    state = initial_state(
        plan, identity_of("old"), payload={"id": "k1"}, meta={}, started_at=BEGAN, semantics=semantics
    )
    return Driven(plan, state, BEGAN, habits or Habits()).to_its_end()
