"""Steps that choose a list of steps: if, switch, tryCatch."""

from __future__ import annotations

from typing import Any

from workflows_core.errors import UNCATCHABLE, ErrorCategory, Failure, StepFailed
from workflows_core.expressions.engine import Expression
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.matching import same
from workflows_core.interpreter.plan import IfStep, SwitchStep, TryStep
from workflows_core.interpreter.state import Frame, Pending


def condition(machine: Machine, frame: Frame, expression: Expression) -> bool:
    """The value of a condition, which must be a real boolean.

    Raises:
        StepFailed: It is none.
    """
    found = machine.evaluator(frame).required(expression, "the condition")
    if not isinstance(found, bool):
        message = f"the condition must give true or false, {expression.source!r} gave {found!r:.80}"
        raise StepFailed(Failure(ErrorCategory.EXPRESSION, message, code="CONDITION_NOT_BOOLEAN"))
    return found


def run_if(machine: Machine, frame: Frame, step: IfStep, pending: Pending) -> None:
    """`control.if`."""
    branch, block = ("then", step.then) if condition(machine, frame, step.condition) else ("else", step.otherwise)
    _go(machine, frame, pending, branch, block, {"branch": branch})


def run_switch(machine: Machine, frame: Frame, step: SwitchStep, pending: Pending) -> None:
    """`control.switch`: the first case whose value it is."""
    found: Any = machine.evaluator(frame).required(step.value, "the value")
    for index, (wanted, block) in enumerate(step.cases):
        if same(found, wanted):
            _go(machine, frame, pending, f"cases[{index}]", block, {"branch": f"cases[{index}]"})
            return
    _go(machine, frame, pending, "default", step.default, {"branch": "default"})


def _go(
    machine: Machine, frame: Frame, pending: Pending, branch: str, block: str | None, output: dict[str, Any]
) -> None:
    machine.record(frame, "SUCCEEDED", pending, output=output)
    if block is None:
        machine.advance(frame)
    else:
        machine.choose(frame, block, branch, pending.started_at)


def run_try(machine: Machine, frame: Frame, step: TryStep, pending: Pending) -> None:
    """`control.tryCatch`."""
    machine.record(frame, "STARTED", pending)
    machine.await_blocks(frame, "try", pending.started_at, {})
    machine.push(frame, step.attempt, "try")


def caught(machine: Machine, frame: Frame, failure: Failure) -> bool:
    """A step of the try block failed: goes on in the catch block, if an author may handle the failure."""
    step, pending = machine.step_as(frame, TryStep), frame.at_work
    if failure.category in UNCATCHABLE:
        return False
    machine.scopes = machine.scopes.set_error(failure.to_json())
    if step.capture_as is not None:
        machine.assign(frame, step.capture_as, failure.to_json())
    machine.await_blocks(frame, "catch", pending.started_at, {"caught": failure.category})
    machine.push(frame, step.catch, "catch")
    return True
