"""What a run has recorded: what its steps got, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Failure, Refused
from workflows_core.interpreter.messages import (
    ActionStepFailed,
    ActionSucceeded,
    ChildLaunched,
    Event,
    EventReceived,
    TimerFired,
)
from workflows_core.interpreter.plan import ActionStep, EventWaitStep, PlanStep
from workflows_core.interpreter.state import Frame, Pending, RunIdentity, State
from workflows_core.interpreter.wait_steps import wait_id_of
from workflows_core.storage.events import event_payloads
from workflows_core.storage.rows import RunRow, StepRow, WaitRow
from workflows_core.storage.runs import RunTimeline, run_timeline, step_generations
from workflows_core.wire.compact import compact_bytes
from workflows_core.wire.messages import EventSignal

_ENDED = ("SUCCEEDED", "FAILED")
"""Of a step that came to its end; the end of the run makes every open one CANCELED."""

_ACTION = "action.call"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is known of a run.

    Attributes:
        timeline: Its rows.
        payloads: Of the events that its waits took, by event id.
        generations: By step path the execution that wrote a step's row; empty for a run that had one execution.
        before: The run in whose place it began, behind the steps that it kept.
        steps: By step path.
        waits: By wait id; every attempt of a step has its own.
        actions: Ids of the actions that its steps called, by step path.
        outputs: What is known of what they gave.
    """

    timeline: RunTimeline
    payloads: Mapping[str, Any]
    generations: Mapping[str, int] = field(default_factory=dict)
    before: Recorded | None = None
    steps: Mapping[str, StepRow] = field(init=False)
    waits: Mapping[str, WaitRow] = field(init=False)
    actions: Mapping[str, str] = field(init=False)
    outputs: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Arranges the rows."""
        rows, calls = self.timeline.steps, self.timeline.invocations
        # A step's row has no output over 2 KiB: that is in the ledger.
        outputs = {step.step_path: step.output_json for step in rows if step.output_json is not None}
        outputs |= {call.step_path: call.output_json for call in calls if call.status == "SUCCEEDED"}
        for name, value in {
            "steps": {step.step_path: step for step in rows},
            "waits": {wait.wait_id: wait for wait in self.timeline.waits},
            "actions": {call.step_path: call.action_id for call in calls},
            "outputs": outputs,
        }.items():
            object.__setattr__(self, name, value)

    @property
    def run(self) -> RunRow:
        """The run's own row."""
        return self.timeline.run

    @property
    def began_at(self) -> str | None:
        """Path of the step that a redriven run began with."""
        return None if self.before is None else self.run.trigger_metadata_json["fromStepPath"]

    @property
    def lineage(self) -> tuple[Recorded, ...]:
        """The runs in each other's place up to this one, the first of them first."""
        return (self,) if self.before is None else (*self.before.lineage, self)

    def identity(self, tenant: str) -> RunIdentity:
        """What the run's own expressions saw of it."""
        run = self.run
        version, content = run.workflow_version, run.definition_hash
        return RunIdentity(run.run_id, tenant, run.workflow_id, version, content, run.trigger_type)

    def began(self, step_path: str) -> bool:
        """Whether the run began the step itself, and did not only keep it."""
        step = self.steps.get(step_path)
        return step is not None and step.started_at >= self.run.started_at

    def lacks_output(self, step_path: str) -> bool:
        """Whether an action has SUCCEEDED there and nothing says what it gave."""
        step = self.steps.get(step_path)
        return step is not None and step.status == "SUCCEEDED" and step_path not in self.outputs

    def was_at(self, step_path: str, planned: PlanStep) -> str | None:
        """What the run had there, for people, where it is not the planned step; None where it is, or nobody knows.

        Another version of an action is no other action: what it gave is kept.
        """
        row = self.steps.get(step_path)
        if row is None:
            return None
        what = self._what(row)
        same = (row.definition_step_id, row.step_type) == (planned.id, planned.type)
        if same and what in (None, what_of(planned)):
            return None
        return described(row.definition_step_id, row.step_type, what)

    def answer(self, frame: Frame, pending: Pending, planned: PlanStep) -> Event | None:
        """What a step that waits got, with the time at which it got it; None when nothing is recorded."""
        row = self.steps.get(frame.step_path)
        if row is None:
            return None
        match pending.kind:
            case "action":
                return self._of_action(pending, row, planned)
            case "launch":
                return self._of_launch(pending, row)
            case "retry":
                return self._of_retry(pending, row)
            case "time":
                return self._of_time(pending, row)
        return self._of_event(pending)

    def told(self, before: State, after: State) -> int | None:
        """The run's own time of a turn, from the rows of what began or ended in it; None where no row has it.

        The row of an action has the time of the process that ran it, which is another one.
        """
        open_paths = {frame.step_path for frame in before.frames.values() if frame.pending is not None}
        for entry in after.outbox.entries:
            row = self.steps.get(entry.step_path or "")
            if row is None or row.step_type == _ACTION:
                continue
            if row.step_path not in open_paths:
                return milliseconds(row.started_at)
            if entry.record["completed_at"] is not None and row.status in _ENDED and row.completed_at is not None:
                return milliseconds(row.completed_at)
        return None

    def as_written(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The row of a kept step for the new run, with attempt and times of this one's."""
        kept, row = {**record, "invocation": None, "kept": True}, self.steps.get(record["step_path"])
        if row is None:
            return kept
        kept["started_at"] = milliseconds(row.started_at)
        if row.status == record["status"] and row.completed_at is not None:
            kept |= {"completed_at": milliseconds(row.completed_at), "attempt": row.attempt}
        return kept

    def _what(self, row: StepRow) -> str | None:
        """As `what_of`, where it is known."""
        if row.step_type == _ACTION:
            return self.actions.get(row.step_path)
        wait = self.waits.get(wait_id_of(self.run.run_id, row.step_path, 1))
        return wait.event_name if wait is not None and row.step_type == "event.wait" else None

    def _of_action(self, pending: Pending, row: StepRow, planned: PlanStep) -> Event | None:
        if row.status not in _ENDED or row.completed_at is None:
            return None
        at = milliseconds(row.completed_at)
        if row.status == "FAILED":
            failure = _failure(row)
            # The run gave the failure its own time, where the row has that of the process that ran the action.
            failure = replace(failure, at=None) if failure.at == at else failure
            return ActionStepFailed(pending.command_id, at, failure, recorded=False)
        if isinstance(planned, ActionStep) and planned.save_as is not None and self.lacks_output(row.step_path):
            return None
        output = self.outputs.get(row.step_path)
        return ActionSucceeded(pending.command_id, at, output, compact_bytes(output), recorded=False)

    def _of_launch(self, pending: Pending, row: StepRow) -> Event | None:
        waits = [wait for wait in self.timeline.waits if wait.step_path == row.step_path]
        own = self.waits.get(wait_id_of(self.run.run_id, row.step_path, pending.attempt))
        if own is not None:
            return ChildLaunched(pending.command_id, milliseconds(own.created_at))
        if row.status == "FAILED" and row.completed_at is not None:
            return ActionStepFailed(pending.command_id, milliseconds(row.completed_at), _failure(row), recorded=False)
        if row.status == "SUCCEEDED" and waits:
            # A later attempt's: why this one was refused is not recorded any more.
            return ChildLaunched(pending.command_id, milliseconds(waits[-1].created_at))
        return None

    def _of_retry(self, pending: Pending, row: StepRow) -> Event | None:
        """The next attempt; of an action it is at once, since only the last one's end is recorded."""
        opened = self.waits.get(wait_id_of(self.run.run_id, row.step_path, pending.attempt))
        return self._fired(pending, row, None if opened is None else opened.created_at)

    def _of_time(self, pending: Pending, row: StepRow) -> Event | None:
        wait = self.waits.get(wait_id_of(self.run.run_id, row.step_path, pending.attempt))
        # A short one may have passed before any write told of it.
        return self._fired(pending, row, None if wait is None or wait.status != "RESOLVED" else wait.resolved_at)

    def _fired(self, pending: Pending, row: StepRow, known: datetime | None) -> Event | None:
        """When a wait's row says, also of a step whose last attempt was cut off; else when its step ended."""
        at = row.completed_at if known is None and row.status in _ENDED else known
        return None if at is None else TimerFired(pending.command_id, milliseconds(at))

    def _of_event(self, pending: Pending) -> Event | None:
        """What ended an open wait: an event, a time-out, or the end of its child."""
        wait = pending.wait
        row = None if wait is None else self._wait_row(wait["wait_id"], wait["step_path"])
        if wait is None or row is None or row.resolved_at is None:
            return None
        at = milliseconds(row.resolved_at)
        if row.status == "TIMED_OUT":
            return TimerFired(pending.command_id, at)
        event_id = row.matched_event_id
        if row.status != "RESOLVED" or event_id is None or event_id not in self.payloads:
            return None
        signal = EventSignal(event_id, row.event_name or "", row.key, self.payloads[event_id], wait_id=wait["wait_id"])
        return EventReceived(signal, at)

    def _wait_row(self, wait_id: str, step_path: str) -> WaitRow | None:
        """The attempt's own row; of a call of a child that `_of_launch` took for launched, the last attempt's."""
        if wait_id in self.waits or self.steps[step_path].status != "SUCCEEDED":
            return self.waits.get(wait_id)
        return next((wait for wait in reversed(self.timeline.waits) if wait.step_path == step_path), None)


def what_of(planned: PlanStep) -> str | None:
    """The action that a step calls, or the event that it waits for."""
    match planned:
        case ActionStep():
            return planned.action_id
        case EventWaitStep():
            return planned.event_name
    return None


def described(step_id: str, step_type: str, what: str | None) -> str:
    """A step, for people."""
    return f"step {step_id!r} ({step_type}{'' if what is None else f' {what}'})"


def milliseconds(moment: datetime) -> int:
    """Since the epoch, as the interpreter has times."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _failure(row: StepRow) -> Failure:
    return Failure.from_json(row.error_json or {"category": "ActionError", "message": "not recorded"})


async def read_recorded(conn: AsyncConnection, run_id: str) -> Recorded | None:
    """Everything recorded of a run, and of those in whose place it began; None when the tenant has none of this id.

    Raises:
        Refused: `REDRIVE_STEP_NOT_REACHED`: what it has kept is another run's, and that run is not there.
    """
    timeline = await run_timeline(conn, run_id)
    if timeline is None:
        return None
    matched = {wait.matched_event_id for wait in timeline.waits if wait.matched_event_id is not None}
    metadata = timeline.run.trigger_metadata_json
    earlier = metadata.get("redriveOfRunId") if isinstance(metadata, Mapping) else None
    before = None if earlier is None else await read_recorded(conn, earlier)
    if earlier is not None and before is None:
        message = f"run {run_id} has kept what run {earlier} did, and of that nothing is recorded"
        raise Refused.one("REDRIVE_STEP_NOT_REACHED", message, "--from")
    return Recorded(
        timeline=timeline,
        payloads=await event_payloads(conn, matched),
        generations=await step_generations(conn, run_id) if timeline.run.generation else {},
        before=before,
    )
