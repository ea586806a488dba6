"""`action.call`: what is called with which input and key, and what becomes of the answer."""

from __future__ import annotations

from typing import Any

from workflows_core.errors import Failure, StepFailed
from workflows_core.expressions.engine import NO_VALUE
from workflows_core.expressions.reading import as_json
from workflows_core.interpreter.correlation import key_text
from workflows_core.interpreter.evaluation import Evaluator, expression_failure
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.messages import ActionStepFailed, ActionSucceeded, RunAction
from workflows_core.interpreter.plan import ActionStep
from workflows_core.interpreter.secret_places import paths_in
from workflows_core.interpreter.state import Frame, Pending
from workflows_core.interpreter.wait_steps import WAIT_BYTES, new_wait
from workflows_core.wire.compact import idempotency_key_of
from workflows_core.wire.records import INLINE_OUTPUT_BYTES, InvocationRecord

STEP_QUOTA_EXCEEDED = "STEP_QUOTA_EXCEEDED"
"""Code of the failure that pauses an action instead of failing its step."""

MAX_RECORDED_INPUT_BYTES = 512 * 1024
"""Of a call that its run records itself: what is larger would make the write too large that carries it."""


MAX_RECORDED_KEY_BYTES = 2_048
"""Of an authored key likewise: the index of a longer one may refuse it, and with it each write that comes behind."""


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
    text = as_json(details_of_call)
    size = len(text)
    if '"$secret"' in text:
        # Said wherever the input has what looks like one, so that a call without it is known to be of an earlier build.
        details_of_call["secrets"] = paths_in(value, step.secrets)
    machine.call_beside(size, f"the input of {step.action_id}@{step.version}")
    waiting = Pending("action", command_id, pending.attempt, pending.started_at, call=details_of_call, call_bytes=size)
    machine.block(frame, waiting)
    machine.commands.append(
        RunAction(command_id, frame.step_path, step.id, step.name, pending.attempt, details_of_call)
    )


def _idempotency_key(machine: Machine, frame: Frame, step: ActionStep, evaluator: Evaluator) -> str:
    if step.idempotency_key is None:
        return idempotency_key_of(machine.state.identity.run_id, frame.step_path)
    found = evaluator.required(step.idempotency_key, "the idempotency key")
    text = key_text(found)
    if text is None:
        raise expression_failure(
            f"the idempotency key must be a text or a number, found {found!r:.80}", step.idempotency_key
        )
    return text


def succeeded(machine: Machine, frame: Frame, pending: Pending, event: ActionSucceeded) -> None:
    """Saves the output and goes on; where it cannot be saved the step fails, and the action has succeeded still."""
    invocation = None if event.recorded else _invocation(pending, "SUCCEEDED", event.output, None)
    try:
        step = machine.step_as(frame, ActionStep)
        if step.save_as is not None:
            machine.assign(frame, step.save_as, event.output, event.size)
    except StepFailed as error:
        machine.fail(frame, error.failure, pending.attempt, pending.started_at, final=True, invocation=invocation)
        return
    if not event.recorded:
        inline = event.output if event.size <= INLINE_OUTPUT_BYTES else None
        machine.record(frame, "SUCCEEDED", pending, output=inline, invocation=invocation, size=event.size)
    machine.advance(frame)


def failed(machine: Machine, frame: Frame, pending: Pending, event: ActionStepFailed) -> None:
    """Routes the failure; a quota that is used up is a pause instead."""
    if event.failure.code == STEP_QUOTA_EXCEEDED:
        _pause(machine, frame, pending, event.failure)
        return
    invocation = None if event.recorded else _invocation(pending, "FAILED", None, event.failure.to_json())
    machine.fail(
        frame, event.failure, pending.attempt, pending.started_at, recorded=event.recorded, invocation=invocation
    )


def _pause(machine: Machine, frame: Frame, pending: Pending, failure: Failure) -> None:
    wait = new_wait(machine, frame, pending, "quota")
    wait["wait_id"] = f"{wait['wait_id']}.quota{machine.at}"
    wait["payload"] = {"reason": "workflow_step_quota_exceeded", **(failure.details or {})}
    machine.block(frame, pending._replace(kind="quota", wait=wait))
    # Counted and never refused: a pause is no failure of the step.
    machine.scope_bytes += WAIT_BYTES
    machine.log("WARN", failure.message, frame.step_path, wait["payload"])


def resume(machine: Machine) -> None:
    """There may be steps again: asks for every paused action anew."""
    for frame in list(machine.frames.values()):
        pending = frame.pending
        if pending is None or pending.kind != "quota" or pending.call is None:
            continue
        machine.close_wait(pending, "RESOLVED")
        step = machine.step_of(frame)
        # Another id, since the answer to the first command has come.
        command_id = f"{pending.command_id}+"
        machine.block(frame, pending._replace(kind="action", wait=None, command_id=command_id))
        machine.commands.append(
            RunAction(command_id, frame.step_path, step.id, step.name, pending.attempt, pending.call)
        )


def _invocation(pending: Pending, status: Any, output: Any, error: dict[str, Any] | None) -> InvocationRecord | None:
    call_of = pending.call or {}
    if len(call_of["idempotency_key"].encode(errors="surrogatepass")) > MAX_RECORDED_KEY_BYTES:
        return None
    return {
        "action_id": call_of["action_id"],
        "action_version": call_of["action_version"],
        "idempotency_key": call_of["idempotency_key"],
        "status": status,
        "attempt": pending.attempt,
        "input_json": call_of["input"] if pending.call_bytes <= MAX_RECORDED_INPUT_BYTES else None,
        "output_json": output,
        "error_json": error,
    }
