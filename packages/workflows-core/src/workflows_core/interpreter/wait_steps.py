"""`event.wait` and `time.wait`: how waits open, time out and complete."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from workflows_core.errors import ErrorCategory, Failure, StepFailed
from workflows_core.expressions.engine import NO_VALUE, Expression
from workflows_core.expressions.reading import json_bytes
from workflows_core.interpreter.correlation import key_fault, key_text
from workflows_core.interpreter.evaluation import Evaluator, expression_failure
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.matching import filter_problem
from workflows_core.interpreter.messages import StartTimer
from workflows_core.interpreter.plan import (
    Assignments,
    Computed,
    EventWaitStep,
    ListOf,
    PlanFilter,
    TimeWaitStep,
)
from workflows_core.interpreter.state import FILTERS_NEED_VALUES, Frame, Pending
from workflows_core.wire.records import FilterRecord, WaitRecord, WaitType

LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999: no database and no calendar of ours has a later one."""

_PENDING_BYTES = 200
"""What an open wait weighs beside its row, about."""

WAIT_BYTES = 1024
"""At most what a wait without filters and texts weighs."""


def open_event_wait(machine: Machine, frame: Frame, step: EventWaitStep, pending: Pending) -> None:
    """Opens the wait."""
    evaluator = machine.evaluator(frame)
    key = key_text(evaluator.required(step.key, "the correlation key"))
    if key is None:
        message = f"the correlation key {step.key.source!r} gives no text or number, so no event could ever match"
        raise expression_failure(message, step.key)
    filters = [_resolve(machine, frame, item) for item in step.filters]
    wait = new_wait(machine, frame, pending, "event", event_name=step.event_name, key=key, filters=filters)
    if step.timeout_ms is not None:
        wait["timeout_at"] = machine.at + step.timeout_ms
    if step.lookback_ms is not None:
        wait["look_back_from"] = machine.at - step.lookback_ms
        wait["lookback_ms"] = step.lookback_ms
    if step.exclusive:
        wait["match"] = "one"
    open_wait(machine, frame, pending, wait, f"{step.name or step.id}: {step.event_name} {key}")


def open_time_wait(machine: Machine, frame: Frame, step: TimeWaitStep, pending: Pending) -> None:
    """Opens the wait; one whose time has passed ends at once."""
    due_at = machine.at + step.duration_ms if step.until is None else _until(machine, frame, step.until)
    wait = new_wait(machine, frame, pending, "time")
    wait["timeout_at"] = due_at
    wait["payload"] = {"mode": "duration" if step.until is None else "until", "dueAt": due_at}
    waiting = _pending(frame, pending, wait)
    if due_at <= machine.at:
        machine.block(frame, waiting)
        time_passed(machine, frame, waiting)
        return
    open_wait(machine, frame, pending, wait, f"{step.name or step.id}")


def time_passed(machine: Machine, frame: Frame, pending: Pending) -> None:
    """A timer fired: a time wait is over, an event wait has timed out."""
    step = machine.step_of(frame)
    wait = pending.wait
    if wait is None:
        return
    if isinstance(step, TimeWaitStep):
        machine.close_wait(pending, "RESOLVED")
        facts = {**wait["payload"], "resumedAt": machine.at}
        complete(machine, frame, pending, step.assignments, facts, {"timeWait": facts})
        return
    machine.close_wait(pending, "TIMED_OUT")
    details = {"eventName": wait["event_name"], "correlationKey": wait["key"], "timeoutAt": wait["timeout_at"]}
    message, code = f"no event {wait['event_name']!r} with key {wait['key']!r} came in time", "EVENT_WAIT_TIMED_OUT"
    if wait["wait_type"] == "human":
        message, code = f"task {wait['key']!r} was not answered in time", "HUMAN_TASK_TIMED_OUT"
    failure = Failure(ErrorCategory.TIMEOUT, message, code=code, details=details)
    machine.fail(frame, failure, pending.attempt, pending.started_at)


def complete(
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


def _resolve(machine: Machine, frame: Frame, item: PlanFilter) -> FilterRecord:
    evaluator = machine.evaluator(frame)
    if machine.state.semantics >= FILTERS_NEED_VALUES:
        value = _filter_value(evaluator, item)
    else:
        value = evaluator.build(item.value)
    resolved: FilterRecord = {"path": item.path, "op": item.op, "value": None if value is NO_VALUE else value}
    problem = filter_problem(resolved)
    if problem is not None:
        raise StepFailed(Failure(ErrorCategory.VALIDATION, f"filter {item.path}: {problem}", code="FILTER_INVALID"))
    return resolved


def _filter_value(evaluator: Evaluator, item: PlanFilter) -> Any:
    what = f"the value of filter {item.path}"
    match item.value:
        case Computed(expression):
            return evaluator.required(expression, what)
        case ListOf(items):
            return [
                evaluator.required(one.expression, what) if isinstance(one, Computed) else evaluator.build(one)
                for one in items
            ]
    return evaluator.build(item.value)


def _until(machine: Machine, frame: Frame, until: Expression) -> int:
    found = machine.evaluator(frame).required(until, "the time to wait until")
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        return _not_too_late(int(found), found, until)
    try:
        moment = datetime.fromisoformat(str(found))
    except ValueError:
        message = f"expected an ISO 8601 time with zone or milliseconds since the epoch, found {found!r:.80}"
        raise expression_failure(message, until) from None
    if moment.tzinfo is None:
        raise expression_failure(f"the time {found!r} has no zone; write one, such as ...Z", until)
    return _not_too_late(int(moment.timestamp() * 1000), found, until)


def _not_too_late(due_at: int, found: Any, until: Expression) -> int:
    if due_at <= LATEST_MS:
        return due_at
    message = (
        f"the time {found!r:.80} is after the year 9999; a number must be milliseconds since 1970 (not micro- or"
        " nanoseconds), a text an ISO 8601 time with zone"
    )
    raise expression_failure(message, until)


def wait_id_of(run_id: str, step_path: str, attempt: int) -> str:
    """The wait of one attempt of a step."""
    again = "" if attempt == 1 else f".{attempt}"
    return f"{run_id}:{step_path}:1{again}"


def new_wait(
    machine: Machine,
    frame: Frame,
    pending: Pending,
    wait_type: WaitType,
    *,
    event_name: str | None = None,
    key: str | None = None,
    filters: list[FilterRecord] | None = None,
) -> WaitRecord:
    """The row of a wait of this step, open from now."""
    return {
        "wait_id": wait_id_of(machine.state.identity.run_id, frame.step_path, pending.attempt),
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
        progress=pending.progress,
    )


def open_wait(machine: Machine, frame: Frame, pending: Pending, wait: WaitRecord, summary: str) -> None:
    """The step waits; a wait that has a limit has a timer.

    Raises:
        StepFailed: `StateTooLarge`: the run cannot carry one more wait. `CORRELATION_KEY_TOO_LONG`.
    """
    most = machine.state.max_key_bytes
    if most is not None and wait["key"] is not None:
        fault = key_fault(wait["key"], machine.state.identity.tenant, wait["event_name"] or "", most=most)
        if fault is not None:
            raise StepFailed(Failure(ErrorCategory.VALIDATION, fault, code="CORRELATION_KEY_TOO_LONG"))
    machine.grow(_PENDING_BYTES + json_bytes(wait), "the wait")
    await_event(machine, frame, pending, wait, summary)


def await_event(machine: Machine, frame: Frame, pending: Pending, wait: WaitRecord, summary: str) -> None:
    """As `open_wait`, for a wait that was accounted for."""
    waiting = _pending(frame, pending, wait)
    machine.block(frame, waiting)
    machine.record(frame, "STARTED", waiting)
    if waiting.due_at is not None:
        machine.commands.append(StartTimer(waiting.command_id, waiting.due_at, summary))
