"""Steps that end at once: assign, state, return."""

from __future__ import annotations

from workflows_core.interpreter import compensation
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.plan import AssignStep, ReturnStep, StateStep
from workflows_core.interpreter.state import Frame, Outcome, Pending


def assign(machine: Machine, frame: Frame, step: AssignStep, pending: Pending) -> None:
    """`transform.assign`."""
    machine.assign_all(frame, step.assignments)
    machine.record(frame, "SUCCEEDED", pending)
    machine.advance(frame)


def set_state(machine: Machine, frame: Frame, step: StateStep, pending: Pending) -> None:
    """`state.set`: what the author calls the run's state, in `meta.state`."""
    machine.scopes = machine.scopes.set_meta("state", step.state)
    machine.record(frame, "SUCCEEDED", pending, output={"state": step.state})
    machine.advance(frame)


def finish(machine: Machine, frame: Frame, step: ReturnStep, pending: Pending) -> None:
    """`control.return`: the run has succeeded, from any depth; what is open elsewhere is cancelled.

    In steps that undo it ends them alone: how the run ends is decided then.
    """
    result = None
    if step.value is not None:
        result = machine.evaluator(frame).required(step.value, "the run's result")
    machine.record(frame, "SUCCEEDED", pending, output=None if step.value is None else {"value": result})
    inner = machine.frames.pop(frame.path)
    while inner.parent is not None:
        # The steps around it have done what they should.
        inner = machine.frames[inner.parent]
        for child in machine.children(inner):
            machine.drop(child)
        if inner.pending is not None and inner.pending.kind != "block":
            machine.record(inner, "SUCCEEDED", inner.pending)
        del machine.frames[inner.path]
    if machine.ending is not None:
        compensation.go_on(machine)
        return
    machine.end(Outcome("SUCCEEDED", machine.at, result=result))
