"""`event.wait` and `time.wait`, and which signals a run takes, keeps or ignores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from workflows_core.errors import ErrorCategory, Failure, StepFailed
from workflows_core.expressions.engine import NO_VALUE
from workflows_core.interpreter.correlation import key_text
from workflows_core.interpreter.evaluation import expression_failure
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.matching import EventFacts, filter_problem, matches
from workflows_core.interpreter.messages import CancelTimer, EventReceived, StartTimer
from workflows_core.interpreter.plan import Assignments, EventWaitStep, PlanFilter, TimeWaitStep
from workflows_core.interpreter.state import Frame, Pending
from workflows_core.wire.messages import EventSignal
from workflows_core.wire.records import FilterRecord, WaitRecord, WaitType

MAX_KEPT_EVENTS = 100
MAX_KEPT_BYTES = 256 * 1024
"""Bounds of the signals kept for a later wait: the oldest is dropped, with a warning in the run's log."""

MAX_CONSUMED_EVENTS = 1000
"""How many consumed event ids of bare signals a run remembers, against repeats."""


def open_event_wait(machine: Machine, frame: Frame, step: EventWaitStep, pending: Pending) -> None:
    """Opens the wait; an event kept from earlier resolves it at once."""
    evaluator = machine.evaluator(frame)
    if step.key is None:
        raise StepFailed(Failure(ErrorCategory.INTERPRETER_CORRUPTION, "event.wait without a correlation key"))
    key = key_text(evaluator.required(step.key, "the correlation key"))
    if key is None:
        message = f"the correlation key {step.key.source!r} gives no text or number, so no event could ever match"
        raise expression_failure(message, step.key)
    filters = [_resolve(machine, frame, item) for item in step.filters]
    wait = _wait(machine, frame, pending, "event", event_name=step.event_name, key=key, filters=filters)
    if step.timeout_ms is not None:
        wait["timeout_at"] = machine.at + step.timeout_ms
    _open(machine, frame, pending, wait, f"{step.name or step.id}: {step.event_name} {key}")
    _take_kept_event(machine, frame)


def open_time_wait(machine: Machine, frame: Frame, step: TimeWaitStep, pending: Pending) -> None:
    """Opens the wait; one whose time has passed ends at once."""
    due_at = machine.at + step.duration_ms if step.duration_ms is not None else _until(machine, frame, step)
    wait = _wait(machine, frame, pending, "time")
    wait["timeout_at"] = due_at
    wait["payload"] = {"mode": "until" if step.duration_ms is None else "duration", "dueAt": due_at}
    waiting = _pending(frame, pending, wait)
    if due_at <= machine.at:
        machine.block(frame, waiting)
        time_passed(machine, frame, waiting)
        return
    _open(machine, frame, pending, wait, f"{step.name or step.id}")


def time_passed(machine: Machine, frame: Frame, pending: Pending) -> None:
    """A timer fired: a time wait is over, an event wait has timed out."""
    step = machine.step_of(frame)
    wait = pending.wait
    if wait is None:
        return
    if isinstance(step, TimeWaitStep):
        machine.close_wait(pending, "RESOLVED")
        facts = {**wait["payload"], "resumedAt": machine.at}
        _complete(machine, frame, pending, step.assignments, facts, {"timeWait": facts})
        return
    machine.close_wait(pending, "TIMED_OUT")
    details = {"eventName": wait["event_name"], "correlationKey": wait["key"], "timeoutAt": wait["timeout_at"]}
    message = f"no event {wait['event_name']!r} with key {wait['key']!r} came in time"
    failure = Failure(ErrorCategory.TIMEOUT, message, code="EVENT_WAIT_TIMED_OUT", details=details)
    machine.fail(frame, failure, pending.attempt, pending.started_at)


def receive(machine: Machine, event: EventReceived) -> None:
    """A signal: for the wait it names, for one it matches, or kept for a later one."""
    signal = event.signal
    if signal.wait_id is not None:
        for frame, pending in _event_waits(machine):
            if pending.wait is not None and pending.wait["wait_id"] == signal.wait_id:
                _consume(machine, frame, pending, signal)
                return
        return  # Closed or unknown: the write that closed the wait gives the delivery its verdict.
    if signal.event_id in machine.consumed_events:
        return
    for frame, pending in _event_waits(machine):
        if pending.wait is not None and matches(_facts(signal), pending.wait):
            _consume(machine, frame, pending, signal)
            return
    if all(kept["signal"]["eventId"] != signal.event_id for kept in machine.kept_events):
        _keep(machine, signal)


def _event_waits(machine: Machine) -> list[tuple[Frame, Pending]]:
    return [(f, f.pending) for f in machine.frames.values() if f.pending is not None and f.pending.kind == "event"]


def _facts(signal: EventSignal) -> EventFacts:
    keys = () if signal.correlation_key is None else (signal.correlation_key,)
    return EventFacts(signal.event_id, signal.event_name, keys, signal.payload)


def _consume(machine: Machine, frame: Frame, pending: Pending, signal: EventSignal) -> None:
    step = machine.step_of(frame)
    wait = pending.wait
    if wait is None or not isinstance(step, EventWaitStep):
        return
    if signal.delivery_id is None:
        machine.consumed_events = (*machine.consumed_events, signal.event_id)[-MAX_CONSUMED_EVENTS:]
    record = {
        "wait_id": wait["wait_id"],
        "event_id": signal.event_id,
        "delivery_id": signal.delivery_id,
        "at": machine.at,
    }
    machine.outbox = machine.outbox.add("consumed", record, 200)
    if pending.due_at is not None:
        machine.commands.append(CancelTimer(pending.command_id))
    given = {"event": signal.payload, "eventName": signal.event_name}
    _complete(machine, frame, pending, step.assignments, {"eventId": signal.event_id}, given)


def _complete(
    machine: Machine,
    frame: Frame,
    pending: Pending,
    assignments: Assignments,
    facts: Mapping[str, Any],
    given: Mapping[str, Any],
) -> None:
    """Assigns and goes on; the wait is closed already, so a failing assignment is the step's failure."""
    try:
        for name, value in given.items():
            machine.set_var(name, value)
        machine.assign_all(frame, assignments)
    except StepFailed as error:
        machine.fail(frame, error.failure, pending.attempt, pending.started_at)
        return
    machine.record(frame, "SUCCEEDED", pending, output=dict(facts))
    machine.advance(frame)


def _take_kept_event(machine: Machine, frame: Frame) -> None:
    pending = machine.frames[frame.path].pending
    if pending is None or pending.wait is None:
        return
    for kept in machine.kept_events:
        signal = EventSignal.from_wire(kept["signal"])
        if signal is not None and matches(_facts(signal), pending.wait):
            machine.kept_events = tuple(e for e in machine.kept_events if e is not kept)
            _consume(machine, machine.frames[frame.path], pending, signal)
            return


def _keep(machine: Machine, signal: EventSignal) -> None:
    body = signal.to_wire()
    kept = [*machine.kept_events, {"signal": body, "size": len(json.dumps(body))}]
    while len(kept) > MAX_KEPT_EVENTS or sum(item["size"] for item in kept) > MAX_KEPT_BYTES:
        dropped = kept.pop(0)["signal"]
        machine.dropped_events += 1
        # One line per power of ten: a flood of signals must not become a flood of lines.
        if str(machine.dropped_events).strip("0") == "1":
            context = {"eventId": dropped["eventId"], "dropped": machine.dropped_events}
            machine.log("WARN", "signals that no wait took were dropped: too many are kept", None, context)
    machine.kept_events = tuple(kept)


def _resolve(machine: Machine, frame: Frame, item: PlanFilter) -> FilterRecord:
    value = machine.evaluator(frame).build(item.value)
    resolved: FilterRecord = {"path": item.path, "op": item.op, "value": None if value is NO_VALUE else value}
    problem = filter_problem(resolved)
    if problem is not None:
        raise StepFailed(Failure(ErrorCategory.VALIDATION, f"filter {item.path}: {problem}", code="FILTER_INVALID"))
    return resolved


def _until(machine: Machine, frame: Frame, step: TimeWaitStep) -> int:
    if step.until is None:
        raise StepFailed(Failure(ErrorCategory.INTERPRETER_CORRUPTION, "time.wait without a time"))
    found = machine.evaluator(frame).required(step.until, "the time to wait until")
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        return int(found)
    try:
        moment = datetime.fromisoformat(str(found))
    except ValueError:
        message = f"expected an ISO 8601 time with zone or milliseconds since the epoch, found {found!r:.80}"
        raise expression_failure(message, step.until) from None
    if moment.tzinfo is None:
        raise expression_failure(f"the time {found!r} has no zone; write one, such as ...Z", step.until)
    return int(moment.timestamp() * 1000)


def _wait(
    machine: Machine,
    frame: Frame,
    pending: Pending,
    wait_type: WaitType,
    *,
    event_name: str | None = None,
    key: str | None = None,
    filters: list[FilterRecord] | None = None,
) -> WaitRecord:
    again = "" if pending.attempt == 1 else f".{pending.attempt}"
    return {
        "wait_id": f"{machine.state.identity.run_id}:{frame.step_path}:1{again}",
        "step_path": frame.step_path,
        "visit": 1,
        "wait_type": wait_type,
        "event_name": event_name,
        "key": key,
        "filters": filters or [],
        "opened_at": machine.at,
        "timeout_at": None,
        "look_back_from": machine.state.started_at,
        "payload": {},
    }


def _pending(frame: Frame, pending: Pending, wait: WaitRecord) -> Pending:
    return Pending(
        "time" if wait["wait_type"] == "time" else "event",
        f"{frame.step_path}@{pending.attempt}:wait",
        attempt=pending.attempt,
        started_at=pending.started_at,
        due_at=wait["timeout_at"],
        wait=wait,
    )


def _open(machine: Machine, frame: Frame, pending: Pending, wait: WaitRecord, summary: str) -> None:
    waiting = _pending(frame, pending, wait)
    machine.block(frame, waiting)
    machine.record(frame, "STARTED", waiting)
    if waiting.due_at is not None:
        machine.commands.append(StartTimer(waiting.command_id, waiting.due_at, summary))
