"""`step(plan, state, event) -> (state, commands)`: the whole meaning of the authored language.

Temporal, the simulator and the property tests drive this very function. It is pure: the same
arguments give the same result, and the state passed in is left as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from workflows_core.errors import ErrorCategory, Failure, StepFailed
from workflows_core.expressions.reading import json_bytes
from workflows_core.interpreter import (
    action_steps,
    branch_steps,
    child_steps,
    compensation,
    control_steps,
    email_steps,
    loop_steps,
    parallel_steps,
    signals,
    unwinding,
    wait_steps,
)
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.messages import (
    ActionStepFailed,
    ActionSucceeded,
    Begin,
    CancelRequested,
    ChildLaunched,
    Command,
    Event,
    EventReceived,
    Noted,
    QuotaResumed,
    RunAction,
    StartTimer,
    TaskAnswered,
    TimerFired,
)
from workflows_core.interpreter.plan import (
    ROOT_BLOCK,
    ActionStep,
    AssignStep,
    CallWorkflowStep,
    EmailStep,
    EventWaitStep,
    ForEachStep,
    HumanTaskStep,
    IfStep,
    ParallelStep,
    Plan,
    PlanStep,
    ReturnStep,
    StateStep,
    SwitchStep,
    TimeWaitStep,
    TryStep,
    WhileStep,
)
from workflows_core.interpreter.scopes import Scopes
from workflows_core.interpreter.state import SEMANTICS_VERSION, Frame, Outcome, Pending, RunIdentity, State


def initial_state(
    plan: Plan,
    identity: RunIdentity,
    *,
    payload: Any,
    meta: Mapping[str, Any],
    started_at: int,
    semantics: int = SEMANTICS_VERSION,
) -> State:
    """The state of a run that has done nothing yet; `started_at` in milliseconds since the epoch."""
    digest = hashlib.sha256(identity.run_id.encode()).digest()
    return State(
        identity=identity,
        engine=plan.engine,
        seed=int.from_bytes(digest[:4], "big"),
        started_at=started_at,
        semantics=semantics,
        scopes=Scopes(payload={} if payload is None else payload, vars={}, meta=meta),
        frames={ROOT_BLOCK: Frame(ROOT_BLOCK, ROOT_BLOCK, None)},
        scope_bytes=json_bytes(payload),
    )


def step(
    plan: Plan, state: State, event: Event, *, max_steps: int | None = None, max_effort: int | None = None
) -> tuple[State, tuple[Command, ...]]:
    """Applies one event, then runs every step that can run.

    A run that has its outcome takes no more events.

    Args:
        plan: The definition, ready to run.
        state: The run as it is.
        event: What has happened.
        max_steps: Stop after so many steps and ends of lists; `State.runnable` says whether some are left, and `Begin`
            goes on with them.
        max_effort: Likewise, stop once expressions may have cost so much (`effort`).
    """
    if state.outcome is not None:
        return state, ()
    machine = Machine(plan, state, event.at)
    _apply(machine, event)
    done = 0
    while machine.outcome is None:
        if machine.raised:
            unwinding.route(machine)
        elif machine.ended is not None:
            outcome, machine.ended = machine.ended, None
            compensation.decide(machine, outcome)
        elif (
            (frame := machine.runnable()) is None
            or done == max_steps
            or (max_effort is not None and machine.effort.total >= max_effort)
        ):
            break
        else:
            done += 1
            machine.begin_step(frame)
            if machine.is_at_end(frame):
                unwinding.close(machine, frame)
            else:
                _run_step(machine, frame, attempt=1, started_at=machine.at)
    return machine.result()


def outstanding(plan: Plan, state: State) -> tuple[Command, ...]:
    """The commands a state still waits for, to be given again after continue-as-new."""
    commands: list[Command] = []
    for frame, pending in state.pending("action", "launch", "time", "event", "retry"):
        planned = plan.blocks[frame.block][frame.position]
        if isinstance(planned, CallWorkflowStep) and pending.kind == "launch":
            commands.append(child_steps.launch_command(planned, frame))
        elif pending.call is not None:
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
            signals.receive(machine, event.signal)
        case TaskAnswered():
            signals.answered(machine, event)
        case QuotaResumed():
            action_steps.resume(machine)
        case Noted():
            machine.log(event.level, event.message, event.step_path or machine.current_path)
        case CancelRequested() if machine.ending is not None:
            machine.log("WARN", "a cancel was ignored: the run has ended and undoes what it did", None)
        case CancelRequested():
            machine.end(Outcome("CANCELED", event.at, Failure(ErrorCategory.CANCELLATION, "the run was cancelled")))
        case _:
            _answer(machine, event)


def _answer(machine: Machine, event: ActionSucceeded | ActionStepFailed | ChildLaunched | TimerFired) -> None:
    found = machine.waiting(event.command_id)
    if found is None:
        return  # The answer to a command that is of no interest any more.
    frame, pending = found
    match event:
        case ActionSucceeded():
            action_steps.succeeded(machine, frame, pending, event)
        case ActionStepFailed() if pending.kind == "launch":
            machine.fail(frame, event.failure, pending.attempt, pending.started_at)
        case ActionStepFailed():
            action_steps.failed(machine, frame, pending, event)
        case ChildLaunched():
            child_steps.launched(machine, frame, pending, event)
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
        if planned.compensate is not None and machine.ending is None:
            machine.reserve_undo(frame, planned)
        _MEANING[type(planned)](machine, frame, planned, pending)
    except StepFailed as error:
        machine.fail(frame, error.failure, attempt, started_at)


_MEANING: Mapping[type[PlanStep], Callable[[Machine, Frame, Any, Pending], None]] = {
    ActionStep: action_steps.call,
    AssignStep: control_steps.assign,
    StateStep: control_steps.set_state,
    IfStep: branch_steps.run_if,
    SwitchStep: branch_steps.run_switch,
    TryStep: branch_steps.run_try,
    ForEachStep: loop_steps.run_for_each,
    WhileStep: loop_steps.run_while,
    ParallelStep: parallel_steps.run_parallel,
    ReturnStep: control_steps.finish,
    EventWaitStep: signals.open_event_wait,
    TimeWaitStep: wait_steps.open_time_wait,
    HumanTaskStep: signals.open_task,
    CallWorkflowStep: child_steps.launch,
    EmailStep: email_steps.run_email,
}
