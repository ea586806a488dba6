"""The working copy of a run while one event is applied: frames move, commands and records come out.

The modules `*_steps` say what each step type does, `unwinding` where a failure goes, `compensation` what is undone at
the end; this one moves frames and keeps the outbox. Nothing here is visible outside `step`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from workflows_core.definitions.paths import AssignPath
from workflows_core.errors import UNCATCHABLE, ErrorCategory, Failure, StepFailed
from workflows_core.expressions.engine import NO_VALUE
from workflows_core.expressions.reading import json_bytes
from workflows_core.interpreter.bindings import Binding
from workflows_core.interpreter.effort import Effort
from workflows_core.interpreter.evaluation import RESUMED, Evaluator, chance_of, no_value, system_of
from workflows_core.interpreter.messages import CancelAction, CancelChild, CancelTimer, Command, StartTimer
from workflows_core.interpreter.outbox import Entry, EntryKind, error_of_row, shortened
from workflows_core.interpreter.plan import Assignments, Plan, PlanStep
from workflows_core.interpreter.retry import retry_decision
from workflows_core.interpreter.scopes import put
from workflows_core.interpreter.state import BLOCK_KINDS, Frame, Outcome, Pending, PendingKind, State, Undo, carried
from workflows_core.wire.records import InvocationRecord, StepRecord, StepStatus, WaitOutcome

_Step = TypeVar("_Step", bound=PlanStep)
_NOTHING: Mapping[str, Any] = {}
_RECORD_BYTES = 300
"""What a record without output weighs, about."""

_UNDO_BYTES = 60
"""What a step to be undone weighs beside its paths and what it saw, about."""

MAX_STATE_BYTES = 1024 * 1024
"""Scopes, loops, open waits and what is to be undone together, in bytes of JSON: continue-as-new must carry them
through the server's 2 MB."""

MAX_BYTES_WITH_CALLS = 1536 * 1024
"""The same with what calls that are open side by side were given: a call that is not made yet is carried too, and those
that are made at once travel in one message of at most 4 MB."""


class Machine:
    """A run at work. `at` is the time of the event that is applied."""

    def __init__(self, plan: Plan, state: State, at: int) -> None:
        self.plan = plan
        self.state = state
        self.at = at
        self.scopes = state.scopes
        self.scope_bytes = state.scope_bytes
        self.frames: dict[str, Frame] = dict(state.frames)
        self._added: list[Entry] = []
        """What is to be written, on its way to the outbox."""
        self.steps_run = state.steps_run
        self.current_path = state.current_path
        self.kept_events = state.kept_events
        self.consumed_events = state.consumed_events
        self.dropped_events = state.dropped_events
        self.undo = state.undo
        self.ending: Outcome | None = state.ending
        self.outcome = state.outcome
        self._call_bytes: int | None = None
        self.effort = Effort()
        self._system: Mapping[str, Any] | None = None
        self._begun: tuple[Frame, int] | None = None
        self._chance: Iterator[int] | None = None
        self.commands: list[Command] = []
        self.raised: list[tuple[Frame, Failure]] = []
        """Failures on their way out, each with the frame it has left."""
        self.ended: Outcome | None = None
        """The end of all frames, before compensation has had its say."""

    def result(self) -> tuple[State, tuple[Command, ...]]:
        """The new state and what is to be done."""
        state = replace(
            self.state,
            scopes=self.scopes,
            scope_bytes=self.scope_bytes,
            frames=self.frames,
            outbox=self.state.outbox.add(self._added) if self._added else self.state.outbox,
            steps_run=self.steps_run,
            current_path=self.current_path,
            kept_events=self.kept_events,
            consumed_events=self.consumed_events,
            dropped_events=self.dropped_events,
            undo=self.undo,
            ending=self.ending,
            outcome=self.outcome,
            effort=self.effort.total,
        )
        return state, tuple(self.commands)

    # Reading

    def step_of(self, frame: Frame) -> PlanStep:
        """The authored step a frame stands at."""
        return self.plan.blocks[frame.block][frame.position]

    def step_as(self, frame: Frame, kind: type[_Step]) -> _Step:
        """The authored step a frame stands at, which is one of this kind.

        Raises:
            StepFailed: It is not: the state is not that of the plan.
        """
        step = self.step_of(frame)
        if not isinstance(step, kind):
            message = f"{frame.step_path} is a {step.type}, the state has a {kind.__name__} there"
            raise StepFailed(Failure(ErrorCategory.INTERPRETER_CORRUPTION, message))
        return step

    def waiting(self, command_id: str) -> tuple[Frame, Pending] | None:
        """The frame that waits for an answer to this command."""
        for frame in self.frames.values():
            if frame.pending is not None and frame.pending.command_id == command_id:
                return frame, frame.pending
        return None

    def runnable(self) -> Frame | None:
        """The first frame, in the order of the tree, that can run or is at its end: a branch runs until it waits."""
        for frame in self.frames.values():
            if frame.pending is None:
                return frame
        return None

    def is_at_end(self, frame: Frame) -> bool:
        """True when no step of the frame is left."""
        return frame.position >= len(self.plan.blocks.get(frame.block, ()))

    def children(self, frame: Frame) -> list[Frame]:
        """The frames that the frame's step has open."""
        return [f for f in self.frames.values() if f.parent == frame.path]

    def around(self, frame: Frame) -> list[Frame]:
        """The frame as it is now, and those that it is inside of, innermost first."""
        found = [self.frames.get(frame.path, frame)]
        while (parent := found[-1].parent) is not None and parent in self.frames:
            found.append(self.frames[parent])
        return found

    def seen_by(self, frame: Frame) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """All names that loops bind for the frame's steps, and the variables among them; inner ones hide outer ones."""
        if frame.parent is None and frame.binding is None:
            return _NOTHING, _NOTHING  # What most steps see.
        names = item_vars = _NOTHING
        for holder in self.around(frame):
            binding = holder.binding
            if binding is not None:
                # Loop by loop: the variable of an outer one must not hide `item` of this one.
                names = {**binding.item_vars, **binding.local, **names}
                item_vars = {**binding.item_vars, **item_vars}
        return names, item_vars

    def bindings_around(self, frame: Frame) -> tuple[Binding, ...]:
        """What the loops around the frame's step have bound, outermost first."""
        return tuple(holder.binding for holder in self.around(frame) if holder.binding is not None)[::-1]

    def evaluator(self, frame: Frame) -> Evaluator:
        """For the frame's expressions, over the scopes as they are now."""
        if self._chance is None:
            if self._begun is not None:
                begun, steps_run = self._begun
                self._chance = chance_of(self.state, begun.step_path, steps_run)
            else:
                # No step has begun in this turn: the event that it begins with lets one go on.
                self._chance = chance_of(self.state, frame.step_path, self.steps_run, RESUMED)
        if self._system is None:
            self._system = system_of(self.state)
        return Evaluator(self._system, self.scopes, self.at, self.seen_by(frame), self._chance, self.effort)

    def begin_step(self, frame: Frame) -> None:
        """Another step is at work, or the end of a list of steps."""
        self.effort.begin_step()
        # Its seeds are made when they are asked for: many steps evaluate nothing.
        self._begun, self._chance = (frame, self.steps_run), None

    # Moving frames

    def block(self, frame: Frame, pending: Pending) -> None:
        """The frame's step waits."""
        self.frames[frame.path] = self.frames[frame.path].waiting(pending)

    def push(self, frame: Frame, block: str | None, branch: str, binding: Binding | None = None) -> None:
        """Opens a list of steps inside the frame's step; None is a list without any."""
        inside = f"{frame.step_path}."
        path = f"{inside}{branch}.steps"
        opened = Frame(path, block or "", frame.path, binding=binding)
        # Behind what is open inside the step, before what comes after the step: frames stay in the order of a tree.
        behind: list[Frame] = []
        while (last := next(reversed(self.frames))) != frame.path and not last.startswith(inside):
            behind.append(self.frames.popitem()[1])
        self.frames[path] = opened
        self.frames.update((f.path, f) for f in reversed(behind))

    def choose(self, frame: Frame, block: str, branch: str, started_at: int) -> None:
        """Goes on in a branch; the step is over when the branch is."""
        path = f"{frame.step_path}.{branch}.steps"
        self.block(frame, Pending("block", path, attempt=1, started_at=started_at))
        self.push(frame, block, branch)

    def await_blocks(self, frame: Frame, kind: PendingKind, started_at: int, progress: Mapping[str, Any]) -> None:
        """The frame's step waits for the steps inside it."""
        pending = Pending(kind, "", attempt=1, started_at=started_at, progress=progress)
        self.block(frame, pending)

    def advance(self, frame: Frame, *, succeeded: bool = True) -> None:
        """The frame's step is done: the next one, or the end of the list."""
        step = self.step_of(frame)
        if succeeded and step.compensate is not None and self.ending is None:
            self.undo = (*self.undo, Undo(frame.step_path, step.compensate, self.bindings_around(frame)))
        self.frames[frame.path] = self.frames[frame.path].at_next()

    def drop(self, frame: Frame) -> None:
        """Takes a frame away with everything inside it; what is open there is cancelled."""
        for child in self.children(frame):
            self.drop(child)
        del self.frames[frame.path]
        pending = frame.pending
        if pending is None or pending.kind == "block":
            return
        self.record(frame, "CANCELED", pending)
        if pending.kind in BLOCK_KINDS:
            return
        self.close_wait(pending, "CANCELED")
        if pending.due_at is not None:
            self.commands.append(CancelTimer(pending.command_id))
        if pending.kind == "action":
            self.commands.append(CancelAction(pending.command_id))
        if pending.progress is not None:
            self.commands.append(CancelChild(pending.progress["childRunId"], frame.step_path))

    def end(self, outcome: Outcome) -> None:
        """Ends every frame; what is open is closed with it."""
        for frame in list(self.frames.values()):
            if frame.path in self.frames and frame.parent is None:
                self.drop(frame)
        self.ended = outcome

    # Failing

    def fail(
        self,
        frame: Frame,
        failure: Failure,
        attempt: int,
        started_at: int,
        *,
        recorded: bool = False,
        final: bool = False,
        invocation: InvocationRecord | None = None,
    ) -> None:
        """Decides about a step's failure: retry, then `onError`, then out of the frame.

        Args:
            frame: Where the step is.
            failure: Why it failed.
            attempt: The attempt that failed.
            started_at: When the step began.
            recorded: The step's row is written already.
            final: No retry: the step has had its effect.
            invocation: Record of the action, if it has not written its own.
        """
        step = self.step_of(frame)
        failure = replace(failure, step_path=frame.step_path, at=failure.at or self.at)
        seed = f"{self.state.seed}:{frame.step_path}"
        delay = None if final else retry_decision(step.retry, failure.category, attempt, seed)
        if delay is not None:
            self._schedule_retry(frame, failure, attempt, started_at, delay)
            return
        pending = Pending("block", "", attempt=attempt, started_at=started_at)
        if not recorded:
            self.record(frame, "FAILED", pending, failure=failure, invocation=invocation)
        if step.continue_on_error and failure.category not in UNCATCHABLE:
            self.scopes = self.scopes.set_error(failure.to_json())
            self.advance(frame, succeeded=False)
            return
        self.raised.append((self.frames.pop(frame.path), failure))

    def _schedule_retry(self, frame: Frame, failure: Failure, attempt: int, started_at: int, delay: int) -> None:
        command_id = f"{frame.step_path}@{attempt + 1}:retry"
        due_at = self.at + delay
        pending = Pending("retry", command_id, attempt=attempt + 1, started_at=started_at, due_at=due_at)
        self.block(frame, pending)
        self.record(frame, "RETRY_SCHEDULED", pending._replace(attempt=attempt), failure=failure)
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
        error = None
        if failure is not None:
            # What an action says of itself is bounded where it was called.
            error = error_of_row(failure, frame.step_path) if invocation is None else failure.to_json()
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
            "error_json": error,
            "generation": 0,
            "sequence": 0,
            "invocation": invocation,
        }
        self.add("step", record, _RECORD_BYTES + size)

    def add(self, kind: EntryKind, record: Mapping[str, Any], size: int) -> None:
        """Adds a record to what is to be written."""
        self._added.append(Entry.waiting(kind, record, size))

    def log(self, level: str, message: str, step_path: str | None, context: dict[str, Any] | None = None) -> None:
        """Adds a line to the run's own log."""
        said = shortened(message)
        line = {"level": level, "message": said, "step_path": step_path, "context_json": context, "at": self.at}
        self.add("log", line, _RECORD_BYTES)

    def close_wait(self, pending: Pending, outcome: WaitOutcome) -> None:
        """Notes how a wait closed without an event, where there is one."""
        if pending.wait is not None:
            record = {"wait_id": pending.wait["wait_id"], "outcome": outcome, "at": self.at}
            self.add("closed", record, _RECORD_BYTES)

    # Assigning

    def assign(self, frame: Frame, path: AssignPath, value: Any, size: int | None = None) -> None:
        """Assigns for a step of the frame; a loop's own variable stays in its item.

        Raises:
            StepFailed: `StateTooLarge`; nothing is assigned then.
        """
        self.grow(size if size is not None else json_bytes(value), path)
        if path.scope == "vars":
            for holder in self.around(frame):
                binding = holder.binding
                if binding is not None and path.segments[0] in binding.item_vars:
                    bound = Binding(binding.local, put(binding.item_vars, path.segments, value), binding.counted)
                    self.frames[holder.path] = holder._replace(binding=bound)
                    return
        self.scopes = self.scopes.assign(path, value)

    def assign_all(self, frame: Frame, assignments: Assignments) -> None:
        """Assigns in order; each sees what the earlier ones gave; one without a value fails the step."""
        for path, expression in assignments:
            found = self.evaluator(frame).value(expression)
            if found is NO_VALUE:
                raise no_value(expression, f"the assignment to {path}")
            self.assign(frame, path, found)

    def set_var(self, name: str, value: Any) -> None:
        """Sets a variable that the runtime gives, such as `vars.event`."""
        self.grow(json_bytes(value), f"vars.{name}")
        self.scopes = self.scopes.set_var(name, value)

    # Bounding what is carried

    def grow(self, size: int, what: object) -> None:
        """Accounts for so many bytes more that are carried from now on; `what` is shown where they are too many.

        Raises:
            StepFailed: `StateTooLarge`.
        """
        if self.scope_bytes + size > MAX_STATE_BYTES:
            # What was overwritten, or has ended, is still counted: count anew.
            self._count()
            if self.scope_bytes + size > MAX_STATE_BYTES:
                message = f"{what} would bring the run's data to {self.scope_bytes + size} bytes"
                raise _too_large(message, self.scope_bytes + size, MAX_STATE_BYTES)
        self.scope_bytes += size

    def call_beside(self, size: int, what: str) -> None:
        """Looks whether a call that is given so many bytes may be open beside those that are.

        One alone is bounded elsewhere: an action's input where it is called.

        Raises:
            StepFailed: `StateTooLarge`.
        """
        if self._call_bytes is None:
            self._call_bytes = self._count_calls()
        if self._call_bytes and self.scope_bytes + self._call_bytes + size > MAX_BYTES_WITH_CALLS:
            # What has ended is still counted: count anew.
            self._call_bytes = self._count_calls()
            self._count()
            total = self.scope_bytes + self._call_bytes + size
            if self._call_bytes and total > MAX_BYTES_WITH_CALLS:
                message = (
                    f"{what}, with the {self._call_bytes} bytes of what other open calls were given and the run's data"
                    f" of {self.scope_bytes} bytes, would be {total} bytes"
                )
                raise _too_large(message, total, MAX_BYTES_WITH_CALLS)
        self._call_bytes += size

    def reserve_undo(self, frame: Frame, step: PlanStep) -> None:
        """Accounts for what undoing the step will need, before the step has an effect.

        Raises:
            StepFailed: `StateTooLarge`.
        """
        bindings = self.bindings_around(frame)
        known = self.undo[-1].bindings if self.undo else ()
        size = _UNDO_BYTES + len(frame.step_path) + len(step.compensate or "")
        size += sum(json_bytes(one.item_vars) for one in bindings if all(one is not other for other in known))
        self.grow(size, "what undoing the step needs")

    def _count(self) -> None:
        held = json_bytes(carried(self.scopes, self.frames, self.undo))
        self.scope_bytes = held - self._count_calls()

    def _count_calls(self) -> int:
        return sum(f.pending.call_bytes for f in self.frames.values() if f.pending is not None)


def _too_large(message: str, size: int, limit: int) -> StepFailed:
    advice = "keep large data in the store or in a file, and its key in the run, or run fewer items side by side"
    text = f"{message}, at most {limit} are allowed: {advice}"
    details = {"bytes": size, "limit": limit}
    return StepFailed(Failure(ErrorCategory.STATE_TOO_LARGE, text, code="STATE_TOO_LARGE", details=details))
