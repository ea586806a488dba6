"""Which signals a run takes, keeps or ignores."""

from __future__ import annotations

from workflows_core.expressions.reading import json_bytes
from workflows_core.interpreter import child_steps, human_steps, wait_steps
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.matching import EventFacts, matches
from workflows_core.interpreter.messages import CancelTimer, TaskAnswered
from workflows_core.interpreter.plan import CallWorkflowStep, EventWaitStep, HumanTaskStep
from workflows_core.interpreter.state import Frame, Pending, State
from workflows_core.wire.messages import EventSignal
from workflows_core.wire.names import HUMAN_TASK_COMPLETED
from workflows_core.wire.records import WaitRecord

MAX_KEPT_EVENTS = 100
MAX_KEPT_BYTES = 256 * 1024
"""Bounds of the signals kept for a later wait: the oldest is dropped, with a warning in the run's log."""

MAX_CONSUMED_EVENTS = 1000
"""How many consumed event ids of bare signals a run remembers, against repeats."""


def open_event_wait(machine: Machine, frame: Frame, step: EventWaitStep, pending: Pending) -> None:
    """Opens the wait; an event kept from earlier resolves it at once."""
    wait_steps.open_event_wait(machine, frame, step, pending)
    _take_kept_event(machine, frame)


def open_task(machine: Machine, frame: Frame, step: HumanTaskStep, pending: Pending) -> None:
    """Opens the task; an answer kept from earlier that fits resolves it at once."""
    human_steps.open_task(machine, frame, step, pending)
    _take_kept_event(machine, frame)


def has_several_answers(state: State) -> bool:
    """Whether answers are kept of which the first may not fit its task, and another one may."""
    answers = [kept for kept in state.kept_events if kept["signal"]["eventName"] == HUMAN_TASK_COMPLETED]
    return len(answers) > 1


def receive(machine: Machine, signal: EventSignal) -> None:
    """A signal: for the wait it names, for one it matches, or kept for a later one."""
    if signal.wait_id is not None:
        for frame, pending, wait in _event_waits(machine):
            if wait["wait_id"] == signal.wait_id:
                _consume(machine, frame, pending, wait, signal)
                return
        return  # Closed or unknown: the write that closed the wait gives the delivery its verdict.
    if signal.event_id in machine.consumed_events:
        return
    for frame, pending, wait in _event_waits(machine):
        if matches(_facts(signal), wait):
            _consume(machine, frame, pending, wait, signal)
            return
    if all(kept["signal"]["eventId"] != signal.event_id for kept in machine.kept_events):
        _keep(machine, signal)


def answered(machine: Machine, event: TaskAnswered) -> None:
    """An answer by signal: for the task it names, if that is open."""
    for _, _, wait in _event_waits(machine):
        if wait["wait_type"] == "human" and wait["key"] == event.task_id:
            event_id = event.event_id or f"{event.task_id}:answer"
            signal = EventSignal(event_id, HUMAN_TASK_COMPLETED, event.task_id, event.payload, wait_id=wait["wait_id"])
            receive(machine, signal)
            return
    machine.log("WARN", f"an answer was ignored: no task {event.task_id!r} is open", machine.current_path)


def _event_waits(machine: Machine) -> list[tuple[Frame, Pending, WaitRecord]]:
    """Every open wait for an event, an answer or a child's end."""
    return [
        (frame, frame.pending, frame.pending.wait)
        for frame in machine.frames.values()
        if frame.pending is not None and frame.pending.kind == "event" and frame.pending.wait is not None
    ]


def _facts(signal: EventSignal) -> EventFacts:
    keys = () if signal.correlation_key is None else (signal.correlation_key,)
    return EventFacts(signal.event_id, signal.event_name, keys, signal.payload)


def _consume(machine: Machine, frame: Frame, pending: Pending, wait: WaitRecord, signal: EventSignal) -> None:
    step = machine.step_of(frame)
    if isinstance(step, HumanTaskStep) and human_steps.refuses(machine, frame, step, signal.payload):
        if signal.delivery_id is not None:
            refused = {"wait_id": wait["wait_id"], "event_id": signal.event_id, "reason": human_steps.REFUSAL}
            machine.add("refused", refused, 200)
        return
    if signal.delivery_id is None:
        machine.consumed_events = (*machine.consumed_events, signal.event_id)[-MAX_CONSUMED_EVENTS:]
    record = {
        "wait_id": wait["wait_id"],
        "event_id": signal.event_id,
        "delivery_id": signal.delivery_id,
        "at": machine.at,
    }
    machine.add("consumed", record, 200)
    if pending.due_at is not None:
        machine.commands.append(CancelTimer(pending.command_id))
    if isinstance(step, CallWorkflowStep):
        child_steps.ended(machine, frame, step, pending, signal)
        return
    taking = step if isinstance(step, HumanTaskStep) else machine.step_as(frame, EventWaitStep)
    given = {"event": signal.payload, "eventName": signal.event_name}
    wait_steps.complete(machine, frame, pending, taking.assignments, {"eventId": signal.event_id}, given)


def _take_kept_event(machine: Machine, frame: Frame) -> None:
    for opened, pending, wait in _event_waits(machine):
        if opened.path != frame.path:
            continue
        for kept in machine.kept_events:
            signal = EventSignal.from_wire(kept["signal"])
            if signal is not None and matches(_facts(signal), wait):
                machine.kept_events = tuple(e for e in machine.kept_events if e is not kept)
                _consume(machine, opened, pending, wait, signal)
                was_refused = machine.frames.get(opened.path) is opened
                if not (was_refused and machine.state.tries_answers):
                    return


def _keep(machine: Machine, signal: EventSignal) -> None:
    body = signal.to_wire()
    kept = [*machine.kept_events, {"signal": body, "size": json_bytes(body)}]
    while len(kept) > MAX_KEPT_EVENTS or sum(item["size"] for item in kept) > MAX_KEPT_BYTES:
        dropped = kept.pop(0)["signal"]
        machine.dropped_events += 1
        # One line per power of ten: a flood of signals must not become a flood of lines.
        if str(machine.dropped_events).strip("0") == "1":
            context = {"eventId": dropped["eventId"], "dropped": machine.dropped_events}
            machine.log("WARN", "signals that no wait took were dropped: too many are kept", None, context)
    machine.kept_events = tuple(kept)
