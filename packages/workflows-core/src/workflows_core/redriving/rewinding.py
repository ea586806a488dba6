"""The state of a run just before one of its steps: the interpreter again, with the answers that the run got."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from workflows_core.errors import Refused
from workflows_core.interpreter.messages import Begin, CancelAction, CancelTimer, Command, Event, RunAction, StartTimer
from workflows_core.interpreter.outbox import Entry, Outbox
from workflows_core.interpreter.plan import ActionStep, Plan
from workflows_core.interpreter.state import Frame, RunIdentity, State
from workflows_core.interpreter.step import initial_state, step
from workflows_core.redriving.recorded import Recorded


@dataclass(frozen=True, slots=True)
class Rewound:
    """Where the new run begins.

    Attributes:
        state: The whole state; the next step that runs is the one asked for.
        step_path: Path of that step.
        kept: Paths of the steps whose results are kept, in their order.
    """

    state: State
    step_path: str
    kept: tuple[str, ...]


def rewind(plan: Plan, recorded: Recorded, identity: RunIdentity, wanted: str, meta: dict[str, Any]) -> Rewound:
    """The state before a step, named by its path or its id (its first visit).

    Raises:
        Refused: `REDRIVE_STEP_NOT_REACHED`: the run never came there, or what led there is not recorded.
    """
    run = recorded.timeline.run
    at = int(run.started_at.timestamp() * 1000)
    state = initial_state(plan, identity, payload=run.input_json, meta=meta, started_at=at)
    commands: list[Command] = []
    kept: dict[str, None] = {}
    records: dict[str, Any] = {}

    def take(following: State, given: tuple[Command, ...]) -> State:
        for command in given:
            if isinstance(command, (CancelTimer, CancelAction)):
                commands[:] = [c for c in commands if getattr(c, "command_id", "") != command.command_id]
            else:
                commands.append(command)
        for entry in following.outbox.entries:
            if entry.kind == "step":
                kept[entry.record["step_path"]] = None
                records[entry.record["step_path"]] = {**entry.record, "invocation": None}
        return replace(following, outbox=Outbox())

    while state.outcome is None:
        frame = _next(plan, state)
        if frame is not None and wanted in (frame.step_path, plan.blocks[frame.block][frame.position].id):
            entries = tuple(Entry.waiting("step", record, 300) for record in records.values())
            begun = replace(state, outbox=Outbox(entries, waits_written=None), generation=-1, steps_run=0)
            return Rewound(begun, frame.step_path, tuple(path for path in kept if path != frame.step_path))
        if state.runnable:
            state = take(*step(plan, state, Begin(at), max_steps=1))
            continue
        event = _following(plan, recorded, state, commands, at)
        if event is None:
            raise _not_reached(wanted, recorded, _gap(recorded, state, commands))
        at = max(at, event.at)
        state = take(*step(plan, state, event, max_steps=0))
    raise _not_reached(wanted, recorded, "the run ended without it")


def _next(plan: Plan, state: State) -> Frame | None:
    """The frame whose step runs next; None when the run waits, or a list is at its end."""
    frame = next((f for f in state.frames.values() if f.pending is None), None)
    return None if frame is None or frame.position >= len(plan.blocks.get(frame.block, ())) else frame


def _following(plan: Plan, recorded: Recorded, state: State, commands: list[Command], at: int) -> Event | None:
    for frame, pending in state.pending("event"):
        event = recorded.event(frame, pending, at)
        if event is not None:
            commands[:] = [c for c in commands if getattr(c, "command_id", "") != pending.command_id]
            return event
    for command in list(commands):
        event = _answer(plan, recorded, state, command, at)
        if event is not None:
            commands.remove(command)
            return event
    return None


def _answer(plan: Plan, recorded: Recorded, state: State, command: Command, at: int) -> Event | None:
    command_id = getattr(command, "command_id", "")
    # The timer of a wait for an event is not among them: the wait itself says whether it has timed out.
    for frame, pending in state.pending("action", "launch", "time", "retry"):
        if pending.command_id != command_id:
            continue
        if isinstance(command, StartTimer):
            return recorded.timer(frame, pending, at)
        step_of = plan.blocks[frame.block][frame.position]
        if isinstance(step_of, ActionStep) and step_of.save_as is not None and recorded.lacks_output(frame.step_path):
            return None
        return recorded.answer(command, at)
    return None


def _gap(recorded: Recorded, state: State, commands: list[Command]) -> str:
    lost = [one.step_path for one in commands if isinstance(one, RunAction) and recorded.lacks_output(one.step_path)]
    if lost:
        return f"the output of {lost[0]} is not recorded with it, since a call with the same idempotency key was first"
    return f"nothing is recorded of what came after {state.current_path}"


def _not_reached(wanted: str, recorded: Recorded, why: str) -> Refused:
    paths = [one.step_path for one in recorded.timeline.steps]
    shown = ", ".join(paths[:20]) or "none"
    message = f"the run cannot be taken to step {wanted!r}: {why}; its steps are {shown}"
    return Refused.one("REDRIVE_STEP_NOT_REACHED", message, "--from")
