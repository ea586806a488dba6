"""`email.parseBody` and `email.renderCommentBlocks`: pure, so that they run inside the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workflows_core.errors import ErrorCategory, Failure, StepFailed
from workflows_core.expressions.engine import NO_VALUE, Expression
from workflows_core.interpreter.email_bodies import comment_blocks, parsed_body
from workflows_core.interpreter.evaluation import expression_failure
from workflows_core.interpreter.former_bodies import former_comment_blocks, former_parsed_body
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.plan import EmailStep
from workflows_core.interpreter.state import MAILS_KEEP_ANSWERS, Frame, Pending


def run_email(machine: Machine, frame: Frame, step: EmailStep, pending: Pending) -> None:
    """Reads the body and saves what it holds."""
    text, html = _text(machine, frame, step.text), _text(machine, frame, step.html)
    machine.effort.spend_on_mail(len(text) + len(html))
    machine.assign(frame, step.save_as, _read(machine, step, text, html))
    machine.record(frame, "SUCCEEDED", pending)
    machine.advance(frame)


def _read(machine: Machine, step: EmailStep, text: str, html: str) -> Any:
    former = machine.state.semantics < MAILS_KEEP_ANSWERS
    if step.type == "email.parseBody":
        read: Callable[[str, str], Any] = former_parsed_body if former else parsed_body
    else:
        read = former_comment_blocks if former else comment_blocks
    try:
        return read(text, html)
    except MemoryError:
        raise  # Another process, or this one later, can read it.
    except Exception as error:
        # A stranger wrote the body. What it makes us raise would fail the workflow task for ever, and a cancel with it.
        message = f"the body of the e-mail cannot be read ({type(error).__name__})"
        raise StepFailed(Failure(ErrorCategory.VALIDATION, message, code="EMAIL_BODY_UNREADABLE")) from error


def _text(machine: Machine, frame: Frame, expression: Expression | None) -> str:
    if expression is None:
        return ""
    found = machine.evaluator(frame).value(expression)
    if found is NO_VALUE or found is None:
        return ""
    if not isinstance(found, str):
        raise expression_failure(f"the body of an e-mail must be a text, found {found!r:.80}", expression)
    return found
