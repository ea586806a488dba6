"""The working copy of a run while one event is applied: frames move, commands and records come out.

The modules `action_steps`, `wait_steps` and `control_steps` say what each step type does; this one moves frames,
routes failures and keeps the outbox. Nothing here is visible outside `step`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from workflows_core.errors import UNCATCHABLE, Failure
from workflows_core.interpreter.evaluation import Evaluator
from workflows_core.interpreter.messages import CancelTimer, Command, Finish, StartTimer
from workflows_core.interpreter.plan import Assignments, Plan, PlanStep
from workflows_core.interpreter.retry import retry_decision
from workflows_core.interpreter.state import Frame, Outcome, Pending, State
from workflows_core.wire.records import InvocationRecord, StepRecord, StepStatus, WaitOutcome

_RECORD_BYTES = 300
"""What a record without output weighs, about."""


class Machine:
    """A run at work. `at` is the time of the event that is applied."""

    def __init__(self, plan: Plan, state: State, at: int) -> None:
        self.plan = plan
        self.state = state
        self.at = at
        self.scopes = state.scopes
        self.frames: dict[str, Frame] = dict(state.frames)
        self.outbox = state.outbox
        self.steps_run = state.steps_run
        self.current_path = state.current_path
        self.kept_events = state.kept_events
        self.consumed_events = state.consumed_events
        self.dropped_events = state.dropped_events
        self.outcome = state.outcome
        self.commands: list[Command] = []

    def result(self) -> tuple[State, tuple[Command, ...]]:
        """The new state and what is to be done."""
        state = replace(
            self.state,
            scopes=self.scopes,
            frames=self.frames,
            outbox=self.outbox,
            steps_run=self.steps_run,
            current_path=self.current_path,
            kept_events=self.kept_events,
            consumed_events=self.consumed_events,
            dropped_events=self.dropped_events,
            outcome=self.outcome,
        )
        return state, tuple(self.commands)

    # Reading

    def step_of(self, frame: Frame) -> PlanStep:
        """The authored step a frame stands at."""
        return self.plan.blocks[frame.block][frame.index]

    def waiting(self, command_id: str) -> tuple[Frame, Pending] | None:
        """The frame that waits for an answer to this command."""
        for frame in self.frames.values():
            if frame.pending is not None and frame.pending.command_id == command_id:
                return frame, frame.pending
        return None

    def runnable(self) -> Frame | None:
        """The first frame that can run."""
        return next((f for f in self.frames.values() if f.pending is None), None)

    def evaluator(self) -> Evaluator:
        """For expressions, over the scopes as they are now."""
        return Evaluator.of(self.state, self.scopes, self.at)

    # Moving frames

    def block(self, frame: Frame, pending: Pending) -> None:
        """The frame's step waits."""
        self.frames[frame.path] = replace(frame, pending=pending)

    def push(self, frame: Frame, block: str, branch: str, started_at: int) -> None:
        """Opens a branch of the frame's step; the step ends with it."""
        path = f"{frame.step_path}.{branch}.steps"
        self.block(frame, Pending("block", path, attempt=1, started_at=started_at))
        self.frames[path] = Frame(path=path, block=block, parent=frame.path)

    def advance(self, frame: Frame) -> None:
        """The frame's step is done: the next one, or the end of the block, or of the run."""
        following: Frame | None = frame
        while following is not None:
            if following.index + 1 < len(self.plan.blocks[following.block]):
                self.frames[following.path] = replace(following, index=following.index + 1, pending=None)
                return
            del self.frames[following.path]
            following = None if following.parent is None else self.frames[following.parent]
        self.end(Outcome("SUCCEEDED", self.at))

    def end(self, outcome: Outcome) -> None:
        """Decides the run's outcome, once; what is open is closed with it."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        for frame in list(self.frames.values()):
            pending = frame.pending
            if pending is None or pending.kind == "block":
                continue
            self.record(frame, "CANCELED", pending)
            if pending.wait is not None:
                self.close_wait(pending, "CANCELED")
            if pending.due_at is not None:
                self.commands.append(CancelTimer(pending.command_id))
        self.frames.clear()
        self.commands.append(Finish())

    # Failing

    def fail(
        self,
        frame: Frame,
        failure: Failure,
        attempt: int,
        started_at: int,
        *,
        recorded: bool = False,
        invocation: InvocationRecord | None = None,
    ) -> None:
        """Routes a step's failure: retry, then `onError`, then the end of the run."""
        step = self.step_of(frame)
        failure = replace(failure, step_path=frame.step_path, at=failure.at or self.at)
        seed = f"{self.state.seed}:{frame.step_path}"
        delay = retry_decision(step.retry, failure.category, attempt, seed)
        if delay is not None:
            self._schedule_retry(frame, failure, attempt, started_at, delay)
            return
        pending = Pending("block", "", attempt=attempt, started_at=started_at)
        if not recorded:
            self.record(frame, "FAILED", pending, failure=failure, invocation=invocation)
        if step.continue_on_error and failure.category not in UNCATCHABLE:
            self.scopes = replace(self.scopes, error=failure.to_json())
            self.advance(frame)
            return
        del self.frames[frame.path]
        self.end(Outcome("FAILED", self.at, failure))

    def _schedule_retry(self, frame: Frame, failure: Failure, attempt: int, started_at: int, delay: int) -> None:
        command_id = f"{frame.step_path}@{attempt + 1}:retry"
        due_at = self.at + delay
        pending = Pending("retry", command_id, attempt=attempt + 1, started_at=started_at, due_at=due_at)
        self.block(frame, pending)
        self.record(frame, "RETRY_SCHEDULED", replace(pending, attempt=attempt), failure=failure)
        step = self.step_of(frame)
        self.commands.append(StartTimer(command_id, due_at, f"{step.name or step.id}: attempt {attempt + 1}"))

    # Recording

    def record(
        self,
        frame: Frame,
        status: StepStatus,
        pending: Pending,
        *,
        failure: Failure | None = None,
        output: Any = None,
        invocation: InvocationRecord | None = None,
        size: int = 0,
    ) -> None:
        """Adds the step's row to the outbox; its fence is stamped when a write takes it."""
        step = self.step_of(frame)
        record: StepRecord = {
            "step_path": frame.step_path,
            "visit": 1,
            "definition_step_id": step.id,
            "step_type": step.type,
            "name": step.name,
            "status": status,
            "attempt": pending.attempt,
            "started_at": pending.started_at,
            "completed_at": None if status in ("STARTED", "RETRY_SCHEDULED") else self.at,
            "output_json": output,
            "error_json": None if failure is None else failure.to_json(),
            "generation": 0,
            "sequence": 0,
            "invocation": invocation,
        }
        self.outbox = self.outbox.add("step", record, _RECORD_BYTES + size)

    def log(self, level: str, message: str, step_path: str | None, context: dict[str, Any] | None = None) -> None:
        """Adds a line to the run's own log."""
        line = {"level": level, "message": message, "step_path": step_path, "context_json": context, "at": self.at}
        self.outbox = self.outbox.add("log", line, _RECORD_BYTES)

    def close_wait(self, pending: Pending, outcome: WaitOutcome) -> None:
        """Notes how a wait closed without an event."""
        if pending.wait is not None:
            record = {"wait_id": pending.wait["wait_id"], "outcome": outcome, "at": self.at}
            self.outbox = self.outbox.add("closed", record, _RECORD_BYTES)

    def assign_all(self, assignments: Assignments) -> None:
        """Assigns in order; each sees what the earlier ones gave; one without a value fails the step."""
        for path, expression in assignments:
            found = self.evaluator().required(expression, f"the assignment to {path}")
            self.scopes = self.scopes.assign(path, found)
