"""`step(plan, state, event) -> (state, commands)`: the whole meaning of the authored language.

Temporal, the simulator and the property tests drive this very function. It is pure: the same
arguments give the same result, and the state passed in is left as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, assert_never

from workflows_core.errors import ErrorCategory, Failure, StepFailed
from workflows_core.interpreter import action_steps, control_steps, wait_steps
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.messages import (
    ActionStepFailed,
    ActionSucceeded,
    Begin,
    CancelRequested,
    Command,
    Event,
    EventReceived,
    Finish,
    Noted,
    RunAction,
    StartTimer,
    TimerFired,
)
from workflows_core.interpreter.plan import (
    ROOT_BLOCK,
    ActionStep,
    AssignStep,
    EventWaitStep,
    IfStep,
    Plan,
    ReturnStep,
    StateStep,
    TimeWaitStep,
)
from workflows_core.interpreter.scopes import Scopes
from workflows_core.interpreter.state import Frame, Outcome, Pending, RunIdentity, State


def initial_state(
    plan: Plan,
    identity: RunIdentity,
    *,
    payload: Any,
    meta: Mapping[str, Any],
    started_at: int,
) -> State:
    """The state of a run that has done nothing yet; `started_at` in milliseconds since the epoch."""
    digest = hashlib.sha256(identity.run_id.encode()).digest()
    frames = {ROOT_BLOCK: Frame(ROOT_BLOCK, ROOT_BLOCK, None)} if plan.blocks[ROOT_BLOCK] else {}
    return State(
        identity=identity,
        engine=plan.engine,
        seed=int.from_bytes(digest[:4], "big"),
        started_at=started_at,
        scopes=Scopes(payload={} if payload is None else payload, vars={}, meta=meta),
        frames=frames,
    )


def step(plan: Plan, state: State, event: Event) -> tuple[State, tuple[Command, ...]]:
    """Applies one event, then runs every step that can run.

    A run that has its outcome takes no more events.
    """
    if state.outcome is not None:
        return state, ()
    machine = Machine(plan, state, event.at)
    _apply(machine, event)
    while machine.outcome is None:
        frame = machine.runnable()
        if frame is None:
            break
        _run_step(machine, frame, attempt=1, started_at=machine.at)
    if machine.outcome is None and not machine.frames:
        machine.end(Outcome("SUCCEEDED", machine.at))
    return machine.result()


def outstanding(plan: Plan, state: State) -> tuple[Command, ...]:
    """The commands a state still waits for, to be given again after continue-as-new."""
    if state.outcome is not None:
        return (Finish(),)
    commands: list[Command] = []
    for frame, pending in state.pending("action", "time", "event", "retry"):
        planned = plan.blocks[frame.block][frame.index]
        if pending.call is not None:
            commands.append(
                RunAction(pending.command_id, frame.step_path, planned.id, planned.name, pending.attempt, pending.call)
            )
        elif pending.due_at is not None:
            commands.append(StartTimer(pending.command_id, pending.due_at, planned.name or planned.id))
    return tuple(commands)


def _apply(machine: Machine, event: Event) -> None:
    match event:
        case Begin():
            pass
        case EventReceived():
            wait_steps.receive(machine, event)
        case Noted():
            machine.log(event.level, event.message, event.step_path or machine.current_path)
        case CancelRequested():
            machine.end(Outcome("CANCELED", event.at, Failure(ErrorCategory.CANCELLATION, "the run was cancelled")))
        case ActionSucceeded() | ActionStepFailed() | TimerFired():
            _answer(machine, event)
        case _:
            assert_never(event)


def _answer(machine: Machine, event: ActionSucceeded | ActionStepFailed | TimerFired) -> None:
    found = machine.waiting(event.command_id)
    if found is None:
        return  # The answer to a command that is of no interest any more.
    frame, pending = found
    match event:
        case ActionSucceeded():
            action_steps.succeeded(machine, frame, pending, event)
        case ActionStepFailed():
            action_steps.failed(machine, frame, pending, event)
        case TimerFired() if pending.kind == "retry":
            _run_step(machine, frame, attempt=pending.attempt, started_at=pending.started_at)
        case TimerFired():
            wait_steps.time_passed(machine, frame, pending)


def _run_step(machine: Machine, frame: Frame, *, attempt: int, started_at: int) -> None:
    planned = machine.step_of(frame)
    pending = Pending("block", "", attempt=attempt, started_at=started_at)
    machine.current_path = frame.step_path
    if attempt == 1:
        machine.steps_run += 1
    try:
        match planned:
            case ActionStep():
                action_steps.call(machine, frame, planned, pending)
            case AssignStep():
                control_steps.assign(machine, frame, planned, pending)
            case StateStep():
                control_steps.set_state(machine, frame, planned, pending)
            case IfStep():
                control_steps.choose(machine, frame, planned, pending)
            case ReturnStep():
                control_steps.finish(machine, frame, pending)
            case EventWaitStep():
                wait_steps.open_event_wait(machine, frame, planned, pending)
            case TimeWaitStep():
                wait_steps.open_time_wait(machine, frame, planned, pending)
            case _:
                message = f"no meaning for step type {planned.type!r}"
                raise StepFailed(Failure(ErrorCategory.INTERPRETER_CORRUPTION, message))
    except StepFailed as error:
        machine.fail(frame, error.failure, attempt, started_at)
