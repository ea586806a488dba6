"""`human.task`: a wait whose event is a person's answer."""

from __future__ import annotations

from typing import Any

from workflows_core.expressions.engine import Expression
from workflows_core.expressions.reading import json_bytes
from workflows_core.interpreter import wait_steps
from workflows_core.interpreter.evaluation import expression_failure
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.plan import HumanTaskStep
from workflows_core.interpreter.state import Frame, Pending
from workflows_core.wire.names import HUMAN_TASK_COMPLETED

REFUSAL = "an answer does not fit the task's schema: the task stays open"
"""Of the run's log and of the delivery that brought it."""


def open_task(machine: Machine, frame: Frame, step: HumanTaskStep, pending: Pending) -> None:
    """Opens the task; its inbox row is written with the wait."""
    wait = wait_steps.new_wait(machine, frame, pending, "human", event_name=HUMAN_TASK_COMPLETED)
    wait["key"] = wait["wait_id"]
    if step.timeout_ms is not None:
        wait["timeout_at"] = machine.at + step.timeout_ms
    wait["payload"] = {
        "taskId": wait["wait_id"],
        "taskType": step.task_type,
        "title": _text(machine, frame, step.title, "the title"),
        "description": _text(machine, frame, step.description, "the description"),
        "contextData": machine.evaluator(frame).build(step.context),
        "assignedUsers": _texts(machine, frame, step.assigned_users, "assignedUsers"),
        "assignedRoles": _texts(machine, frame, step.assigned_roles, "assignedRoles"),
        "dueAt": None if step.due_in_ms is None else machine.at + step.due_in_ms,
        "responseSchema": step.response_schema,
    }
    wait_steps.open_wait(machine, frame, pending, wait, f"{step.name or step.id}: {step.task_type}")


def refuses(machine: Machine, frame: Frame, step: HumanTaskStep, answer: Any) -> bool:
    """True when an answer does not fit; the task stays open, and the run's log says why."""
    problems: list[str] = []
    if step.check is not None:
        machine.effort.spend_on_answer(json_bytes(answer))
        problems = list(step.check(answer))
    if problems:
        context = {"problems": problems[:20]}
        machine.log("WARN", REFUSAL, frame.step_path, context)
    return bool(problems)


def _text(machine: Machine, frame: Frame, expression: Expression | None, what: str) -> str | None:
    if expression is None:
        return None
    found = machine.evaluator(frame).required(expression, what)
    if not isinstance(found, str):
        raise expression_failure(f"{what} must be a text, found {found!r:.80}", expression)
    return found


def _texts(machine: Machine, frame: Frame, expression: Expression | None, what: str) -> list[str]:
    if expression is None:
        return []
    found = machine.evaluator(frame).required(expression, what)
    listed = [found] if isinstance(found, str) else found
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise expression_failure(f"{what} must be a list of texts, found {found!r:.80}", expression)
    return listed
