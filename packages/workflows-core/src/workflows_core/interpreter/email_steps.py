"""`email.parseBody` and `email.renderCommentBlocks`: pure, so that they run inside the interpreter."""

from __future__ import annotations

from typing import Any

from workflows_core.expressions.engine import NO_VALUE, Expression
from workflows_core.interpreter.email_bodies import comment_blocks, parsed_body
from workflows_core.interpreter.evaluation import expression_failure
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.plan import EmailStep
from workflows_core.interpreter.state import Frame, Pending


def run_email(machine: Machine, frame: Frame, step: EmailStep, pending: Pending) -> None:
    """Reads the body and saves what it holds."""
    text, html = _text(machine, frame, step.text), _text(machine, frame, step.html)
    machine.effort.spend_on_mail(len(text) + len(html))
    found: Any = parsed_body(text, html) if step.type == "email.parseBody" else comment_blocks(text, html)
    machine.assign(frame, step.save_as, found)
    machine.record(frame, "SUCCEEDED", pending)
    machine.advance(frame)


def _text(machine: Machine, frame: Frame, expression: Expression | None) -> str:
    if expression is None:
        return ""
    found = machine.evaluator(frame).value(expression)
    if found is NO_VALUE or found is None:
        return ""
    if not isinstance(found, str):
        raise expression_failure(f"the body of an e-mail must be a text, found {found!r:.80}", expression)
    return found
