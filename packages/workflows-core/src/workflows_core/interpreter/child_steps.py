"""`control.callWorkflow`: a run of its own, whose end is an event that this run waits for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from workflows_core.errors import ErrorCategory, Failure, StepFailed
from workflows_core.expressions.reading import json_bytes
from workflows_core.interpreter import wait_steps
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.messages import ChildLaunched, LaunchChild
from workflows_core.interpreter.plan import CallWorkflowStep
from workflows_core.interpreter.state import Frame, Pending
from workflows_core.wire.messages import EventSignal
from workflows_core.wire.names import RUN_ENDED


def launch(machine: Machine, frame: Frame, step: CallWorkflowStep, pending: Pending) -> None:
    """Asks for the child's start; every attempt is a child of its own."""
    identity = machine.state.identity
    child = _child_id(identity.tenant, identity.run_id, frame.step_path, pending.attempt)
    payload = machine.evaluator(frame).build(step.input)
    command_id = f"{frame.step_path}@{pending.attempt}"
    progress = {"childRunId": child, "payload": payload}
    size = json_bytes(progress)
    machine.call_beside(size, f"the payload of workflow {step.workflow_id!r}")
    # The wait for its end, which must not fail once the child runs.
    machine.grow(wait_steps.WAIT_BYTES, "the wait for the child's end")
    machine.block(frame, pending._replace(kind="launch", command_id=command_id, progress=progress, call_bytes=size))
    machine.record(frame, "STARTED", pending, output={"childRunId": child})
    machine.commands.append(launch_command(step, machine.frames[frame.path]))


def launch_command(step: CallWorkflowStep, frame: Frame) -> LaunchChild:
    """The command of a launch that is under way."""
    pending = frame.at_work
    return LaunchChild(
        pending.command_id,
        frame.step_path,
        step.id,
        pending.remembered["childRunId"],
        step.workflow_id,
        step.workflow_version,
        pending.remembered["payload"],
    )


def launched(machine: Machine, frame: Frame, pending: Pending, _: ChildLaunched) -> None:
    """The child runs: waits for its end, without limit."""
    child = pending.remembered["childRunId"]
    wait = wait_steps.new_wait(machine, frame, pending, "event", event_name=RUN_ENDED, key=child)
    wait["payload"] = {"childRunId": child}
    wait_steps.await_event(machine, frame, pending._replace(progress={"childRunId": child}), wait, "")


def ended(machine: Machine, frame: Frame, step: CallWorkflowStep, pending: Pending, signal: EventSignal) -> None:
    """The child has ended: its outputs, or its failure."""
    child = pending.remembered["childRunId"]
    body: Mapping[str, Any] = signal.payload if isinstance(signal.payload, Mapping) else {}
    if body.get("status") != "SUCCEEDED":
        error: Mapping[str, Any] = body.get("error") or {}
        cause = error.get("message", "nobody knows why")
        details = {
            "workflowId": step.workflow_id,
            "workflowVersion": step.workflow_version,
            "childRunId": child,
            "status": body.get("status"),
            "cause": dict(error) or None,
        }
        message = f"run {child} of workflow {step.workflow_id!r} ended {body.get('status')}: {cause}"
        failure = Failure(ErrorCategory.CHILD_WORKFLOW, message, code="CHILD_RUN_FAILED", details=details)
        machine.fail(frame, failure, pending.attempt, pending.started_at)
        return
    if step.assignments and body.get("resultBytes") is not None:
        message = (
            f"run {child} of workflow {step.workflow_id!r} succeeded, but its result and scopes have"
            f" {body['resultBytes']} bytes, more than an event carries: keep large values outside and return their name"
        )
        too_large = Failure(ErrorCategory.PAYLOAD_TOO_LARGE, message, code="CHILD_RESULT_TOO_LARGE")
        machine.fail(frame, too_large, pending.attempt, pending.started_at, final=True)
        return
    result: Mapping[str, Any] = body.get("result") or {}
    scopes: Mapping[str, Any] = result.get("scopes") or {}
    seen = {**scopes, "local": {}, "system": {"runId": child}, "result": result.get("result")}
    try:
        for path, expression in step.assignments:
            evaluator = machine.evaluator(frame)
            evaluator.document = {**evaluator.document, "childRun": seen}
            machine.assign(frame, path, evaluator.required(expression, f"the assignment to {path}"))
    except StepFailed as error_of_ours:
        machine.fail(frame, error_of_ours.failure, pending.attempt, pending.started_at, final=True)
        return
    machine.record(frame, "SUCCEEDED", pending, output={"childRunId": child})
    machine.advance(frame)


def _child_id(tenant: str, run_id: str, step_path: str, attempt: int) -> str:
    """The same id in every replay, in the form of a UUID."""
    digest = hashlib.sha256("\x1f".join((tenant, run_id, step_path, str(attempt))).encode()).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))
