"""`action.call`: what is called with which input and key, and what becomes of the answer."""

from __future__ import annotations

from typing import Any

from workflows_core.errors import ErrorCategory, Failure, StepFailed
from workflows_core.expressions.engine import NO_VALUE
from workflows_core.interpreter.correlation import key_text
from workflows_core.interpreter.evaluation import Evaluator, expression_failure
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.messages import ActionStepFailed, ActionSucceeded, RunAction
from workflows_core.interpreter.plan import ActionStep
from workflows_core.interpreter.state import Frame, Pending
from workflows_core.wire.records import INLINE_OUTPUT_BYTES, InvocationRecord


def call(machine: Machine, frame: Frame, step: ActionStep, pending: Pending) -> None:
    """Evaluates input and key and asks for the call."""
    evaluator = machine.evaluator(frame)
    value = evaluator.build(step.input)
    details_of_call = {
        "action_id": step.action_id,
        "action_version": step.version,
        "idempotency_key": _idempotency_key(machine, frame, step, evaluator),
        "authored_key": step.idempotency_key is not None,
        "input": None if value is NO_VALUE else value,
    }
    command_id = f"{frame.step_path}@{pending.attempt}"
    machine.block(
        frame,
        Pending("action", command_id, attempt=pending.attempt, started_at=pending.started_at, call=details_of_call),
    )
    machine.commands.append(
        RunAction(command_id, frame.step_path, step.id, step.name, pending.attempt, details_of_call)
    )


def _idempotency_key(machine: Machine, frame: Frame, step: ActionStep, evaluator: Evaluator) -> str:
    if step.idempotency_key is None:
        return f"{machine.state.identity.run_id}:{frame.step_path}:1"
    found = evaluator.required(step.idempotency_key, "the idempotency key")
    text = key_text(found)
    if text is None:
        raise expression_failure(
            f"the idempotency key must be a text or a number, found {found!r:.80}", step.idempotency_key
        )
    return text


def succeeded(machine: Machine, frame: Frame, pending: Pending, event: ActionSucceeded) -> None:
    """Saves the output and goes on."""
    step = machine.step_of(frame)
    if not isinstance(step, ActionStep):
        raise StepFailed(Failure(ErrorCategory.INTERPRETER_CORRUPTION, f"{frame.step_path} is no action step"))
    if not event.recorded:
        inline = event.output if event.size <= INLINE_OUTPUT_BYTES else None
        invocation = _invocation(pending, "SUCCEEDED", event.output, None)
        machine.record(frame, "SUCCEEDED", pending, output=inline, invocation=invocation, size=event.size)
    if step.save_as is not None:
        machine.assign(frame, step.save_as, event.output, event.size)
    machine.advance(frame)


def failed(machine: Machine, frame: Frame, pending: Pending, event: ActionStepFailed) -> None:
    """Routes the failure."""
    invocation = None if event.recorded else _invocation(pending, "FAILED", None, event.failure.to_json())
    machine.fail(
        frame, event.failure, pending.attempt, pending.started_at, recorded=event.recorded, invocation=invocation
    )


def _invocation(pending: Pending, status: Any, output: Any, error: dict[str, Any] | None) -> InvocationRecord:
    call_of = pending.call or {}
    return {
        "action_id": call_of["action_id"],
        "action_version": call_of["action_version"],
        "idempotency_key": call_of["idempotency_key"],
        "status": status,
        "attempt": pending.attempt,
        "input_json": call_of["input"],
        "output_json": output,
        "error_json": error,
    }
