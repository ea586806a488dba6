"""What a run has recorded, as answers to the interpreter's commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Failure
from workflows_core.interpreter.messages import (
    ActionStepFailed,
    ActionSucceeded,
    ChildLaunched,
    Command,
    Event,
    EventReceived,
    LaunchChild,
    RunAction,
    TimerFired,
)
from workflows_core.interpreter.state import Frame, Pending
from workflows_core.storage.events import event_payloads
from workflows_core.storage.rows import StepRow, WaitRow
from workflows_core.storage.runs import RunTimeline, run_timeline
from workflows_core.wire.messages import EventSignal

_ENDED = ("SUCCEEDED", "FAILED")
"""Of a step that came to its end; the end of the run makes every open one CANCELED."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The rows of a run by step path, the outputs that are known, and the payloads of the events that it took."""

    timeline: RunTimeline
    steps: Mapping[str, StepRow]
    outputs: Mapping[str, Any]
    waits: Mapping[str, WaitRow]
    payloads: Mapping[str, Any]

    def lacks_output(self, step_path: str) -> bool:
        """Whether an action has SUCCEEDED there and nothing says what it gave."""
        step = self.steps.get(step_path)
        return step is not None and step.status == "SUCCEEDED" and step_path not in self.outputs

    def answer(self, command: Command, at: int) -> Event | None:
        """What the run got for this call of an action or of a child; None when it got nothing that is recorded."""
        match command:
            case RunAction():
                return self._of_action(command, at)
            case LaunchChild():
                step = self.steps.get(command.step_path)
                return ChildLaunched(command.command_id, at) if step is not None else None
        return None

    def timer(self, frame: Frame, pending: Pending, at: int) -> Event | None:
        """The end of a wait for a time, or for the next attempt; None where the step never came to its end."""
        step = self.steps.get(frame.step_path)
        if step is None or step.status not in _ENDED:
            return None
        return TimerFired(pending.command_id, max(at, pending.due_at or at))

    def event(self, frame: Frame, pending: Pending, at: int) -> Event | None:
        """What ended an open wait of the run: an event, a time-out, or the end of its child; None when nothing did."""
        wait, row, step = pending.wait, self.waits.get(frame.step_path), self.steps.get(frame.step_path)
        if wait is None or row is None or step is None:
            return None
        if row.status == "TIMED_OUT":
            return TimerFired(pending.command_id, max(at, pending.due_at or at))
        event_id = row.matched_event_id
        if row.status != "RESOLVED" or event_id is None or event_id not in self.payloads:
            return None
        payload = self.payloads[event_id]
        signal = EventSignal(event_id, row.event_name or "", row.key, payload, wait_id=wait["wait_id"])
        return EventReceived(signal, at)

    def _of_action(self, command: RunAction, at: int) -> Event | None:
        step = self.steps.get(command.step_path)
        if step is None or step.status not in _ENDED:
            return None
        if step.status == "SUCCEEDED":
            output = self.outputs.get(command.step_path)
            return ActionSucceeded(command.command_id, at, output, len(repr(output)), recorded=False)
        failure = Failure.from_json(step.error_json or {"category": "ActionError", "message": "not recorded"})
        return ActionStepFailed(command.command_id, at, failure, recorded=False)


async def read_recorded(conn: AsyncConnection, run_id: str) -> Recorded | None:
    """Everything recorded of a run; None when the tenant has none of this id."""
    timeline = await run_timeline(conn, run_id)
    if timeline is None:
        return None
    matched = {wait.matched_event_id for wait in timeline.waits if wait.matched_event_id is not None}
    payloads = await event_payloads(conn, matched)
    return Recorded(
        timeline=timeline,
        steps={step.step_path: step for step in timeline.steps},
        outputs=await _outputs(conn, timeline),
        waits={wait.step_path: wait for wait in timeline.waits},
        payloads=payloads,
    )


async def _outputs(conn: AsyncConnection, timeline: RunTimeline) -> dict[str, Any]:
    """What is known of what actions gave, by step path.

    A step's row has no output over 2 KiB: that is in the ledger, with the run that made the call. So what a redrive has
    kept is an earlier run's; and a short action's output is nowhere when an earlier call had the same key.
    """
    found = {step.step_path: step.output_json for step in timeline.steps if step.output_json is not None}
    found |= {one.step_path: one.output_json for one in timeline.invocations if one.status == "SUCCEEDED"}
    succeeded = {step.step_path for step in timeline.steps if step.status == "SUCCEEDED"}
    metadata = timeline.run.trigger_metadata_json
    before = metadata.get("redriveOfRunId") if isinstance(metadata, Mapping) else None
    if before is not None and not succeeded <= found.keys():
        earlier = await run_timeline(conn, before)
        known = {} if earlier is None else await _outputs(conn, earlier)
        found |= {path: known[path] for path in known.keys() & (succeeded - found.keys())}
    return found
