"""Steps that end at once: assign, state, if, return."""

from __future__ import annotations

from collections.abc import Mapping

from workflows_core.errors import ErrorCategory, Failure, StepFailed
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.plan import AssignStep, IfStep, StateStep
from workflows_core.interpreter.state import Frame, Outcome, Pending


def assign(machine: Machine, frame: Frame, step: AssignStep, pending: Pending) -> None:
    """`transform.assign`."""
    machine.assign_all(step.assignments)
    machine.record(frame, "SUCCEEDED", pending)
    machine.advance(frame)


def set_state(machine: Machine, frame: Frame, step: StateStep, pending: Pending) -> None:
    """`state.set`: what the author calls the run's state, in `meta.state`."""
    meta: Mapping[str, object] = {**machine.scopes.meta, "state": step.state}
    machine.scopes = type(machine.scopes)(machine.scopes.payload, machine.scopes.vars, meta, machine.scopes.error)
    machine.record(frame, "SUCCEEDED", pending, output={"state": step.state})
    machine.advance(frame)


def choose(machine: Machine, frame: Frame, step: IfStep, pending: Pending) -> None:
    """`control.if`: the condition must be a real boolean."""
    if step.condition is None:
        raise StepFailed(Failure(ErrorCategory.INTERPRETER_CORRUPTION, "control.if without a condition"))
    found = machine.evaluator().required(step.condition, "the condition")
    if not isinstance(found, bool):
        message = f"the condition must give true or false, {step.condition.source!r} gave {found!r:.80}"
        raise StepFailed(Failure(ErrorCategory.EXPRESSION, message, code="CONDITION_NOT_BOOLEAN"))
    branch, block = ("then", step.then) if found else ("else", step.otherwise)
    machine.record(frame, "SUCCEEDED", pending, output={"branch": branch})
    if block is None:
        machine.advance(frame)
    else:
        machine.push(frame, block, branch, pending.started_at)


def finish(machine: Machine, frame: Frame, pending: Pending) -> None:
    """`control.return`: the run has succeeded, from any depth."""
    machine.record(frame, "SUCCEEDED", pending)
    del machine.frames[frame.path]
    machine.end(Outcome("SUCCEEDED", machine.at))
