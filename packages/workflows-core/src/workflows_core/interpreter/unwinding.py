"""What becomes of a list of steps that has ended, and where a failure goes: innermost handler first."""

from __future__ import annotations

from dataclasses import replace

from workflows_core.errors import Failure, StepFailed
from workflows_core.interpreter import branch_steps, compensation, loop_steps, parallel_steps
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.state import Frame, Outcome


def close(machine: Machine, frame: Frame) -> None:
    """A list of steps is at its end: the step around it goes on."""
    parent = None if frame.parent is None else machine.frames[frame.parent]
    if parent is None or parent.pending is None:
        del machine.frames[frame.path]
        if machine.ending is not None:
            compensation.go_on(machine)
        else:
            machine.end(Outcome("SUCCEEDED", machine.at))
        return
    try:
        match parent.pending.kind:
            case "loop":
                loop_steps.item_done(machine, parent, frame)
            case "while":
                loop_steps.pass_done(machine, parent, frame)
            case "parallel":
                parallel_steps.branch_done(machine, parent, frame)
            case "try" | "catch":
                del machine.frames[frame.path]
                machine.record(parent, "SUCCEEDED", parent.pending, output=parent.pending.progress or None)
                machine.advance(parent)
            case _:
                del machine.frames[frame.path]
                machine.advance(parent)
    except StepFailed as error:
        machine.frames.pop(frame.path, None)
        failure = replace(error.failure, step_path=parent.step_path, at=error.failure.at or machine.at)
        machine.raised.append((frame, failure))


def route(machine: Machine) -> None:
    """Takes a failure outwards to the first step that handles it, else to the end of the run."""
    left, failure = machine.raised.pop(0)
    while left.parent is not None:
        parent = machine.frames[left.parent]
        try:
            if _handled(machine, parent, left, failure):
                return
        except StepFailed as error:
            failure = replace(error.failure, step_path=parent.step_path, at=error.failure.at or machine.at)
        for child in machine.children(parent):
            machine.drop(child)
        if parent.pending is not None and parent.pending.kind != "block":
            machine.record(parent, "FAILED", parent.pending, failure=failure)
        left = machine.frames.pop(parent.path)
    if machine.ending is not None:
        compensation.failed(machine, left, failure)
    else:
        machine.end(Outcome("FAILED", machine.at, failure))


def _handled(machine: Machine, parent: Frame, left: Frame, failure: Failure) -> bool:
    match None if parent.pending is None else parent.pending.kind:
        case "try":
            return branch_steps.caught(machine, parent, failure)
        case "loop":
            return loop_steps.item_failed(machine, parent, left, failure)
        case "parallel":
            return parallel_steps.branch_failed(machine, parent, left, failure)
    return False
