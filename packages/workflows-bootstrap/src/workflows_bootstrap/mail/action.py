"""`email.send`: one message over the installation's transport."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from workflows_bootstrap.mail.message import MAX_RECIPIENTS, Message, is_line, mailbox
from workflows_bootstrap.mail.transport import MailTransport
from workflows_core.actions.action import Action, ActionContext, Place
from workflows_core.actions.building import object_schema
from workflows_core.errors import ActionFailed, ErrorCategory, Json
from workflows_core.wire.text import UNSTORABLE

TIMEOUT_MS: Final = 120_000
MAX_BODY_CHARACTERS: Final = 256 * 1024
"""Of text and of html, each."""

_SHOWN_LENGTH: Final = 200

_MAILBOX = object_schema(
    {"email": {"type": "string", "minLength": 3, "maxLength": 320}, "name": {"type": "string", "maxLength": 200}},
    ["email"],
)
_MAILBOXES = {"type": "array", "items": _MAILBOX, "maxItems": MAX_RECIPIENTS}
_BODY = {"type": "string", "maxLength": MAX_BODY_CHARACTERS}
_INPUT = {
    **object_schema(
        {
            "to": {**_MAILBOXES, "minItems": 1, "description": "Recipients."},
            "cc": {**_MAILBOXES, "description": "Recipients of a copy."},
            "bcc": {**_MAILBOXES, "description": "Recipients whom the others do not see."},
            "from": {**_MAILBOX, "description": "Sender; default: the installation's."},
            "replyTo": {**_MAILBOX, "description": "Where answers go."},
            "subject": {"type": "string", "minLength": 1, "maxLength": 998, "description": "One line."},
            "text": {**_BODY, "description": "Body as plain text."},
            "html": {**_BODY, "description": "Body as HTML."},
            "idempotency_key": {
                "type": "string",
                "minLength": 1,
                "maxLength": 500,
                "description": "Default: the step's own, the same for all its attempts.",
            },
        },
        ["to", "subject"],
    ),
    "anyOf": [{"required": ["text"]}, {"required": ["html"]}],
}
_OUTPUT = object_schema(
    {
        "messageId": {"type": "string", "description": "The Message-ID header."},
        "providerId": {"type": ["string", "null"], "description": "What the server said, or its id of the message."},
        "recipients": {"type": "integer", "description": "How many addresses it went to."},
    },
    ["messageId", "providerId", "recipients"],
)


def send_actions(transport: MailTransport, sender: str | None) -> Sequence[Action]:
    """email.send over a transport; what its effect is depends on the transport."""

    async def send(value: Any, context: ActionContext) -> Json:
        message = _message(value, context, sender)
        said = await transport.send(message)
        return {
            "messageId": message.message_id,
            # It is sent, so nothing that the server says may fail the step.
            "providerId": None if said is None else UNSTORABLE.sub("", context.scrub(said))[:_SHOWN_LENGTH],
            "recipients": len(message.recipients),
        }

    return (
        Action(
            id="email.send",
            version=1,
            handler=send,
            input_schema=_INPUT,
            output_schema=_OUTPUT,
            description="Sends an e-mail to all recipients.",
            category="email",
            effect=transport.effect,
            timeout_ms=TIMEOUT_MS,
            place=Place.APP,
        ),
    )


def _message(value: Any, context: ActionContext, sender: str | None) -> Message:
    """The message of an input, checked.

    Raises:
        ActionFailed: `ValidationError`: `EMAIL_ADDRESS_INVALID`, `EMAIL_SUBJECT_INVALID`, `EMAIL_TOO_MANY_RECIPIENTS`,
            `EMAIL_NOT_CONFIGURED` (no sender).
    """
    given = value.get("from") or (None if sender is None else {"email": sender})
    if given is None:
        text = "no sender: give `from` in the step or set WORKFLOW_MAIL_FROM of workflow-server"
        raise ActionFailed(text, category=ErrorCategory.VALIDATION, code="EMAIL_NOT_CONFIGURED")
    if not is_line(value["subject"]):
        text = "the subject has a line break or another control character; a subject is one line"
        raise ActionFailed(text, category=ErrorCategory.VALIDATION, code="EMAIL_SUBJECT_INVALID")
    message = Message(
        sender=mailbox(given, "from", context.scrub),
        to=[mailbox(one, f"to[{index}]", context.scrub) for index, one in enumerate(value["to"])],
        cc=[mailbox(one, f"cc[{index}]", context.scrub) for index, one in enumerate(value.get("cc", ()))],
        bcc=[mailbox(one, f"bcc[{index}]", context.scrub) for index, one in enumerate(value.get("bcc", ()))],
        reply_to=mailbox(value["replyTo"], "replyTo", context.scrub) if "replyTo" in value else None,
        subject=value["subject"],
        text=value.get("text"),
        html=value.get("html"),
        key=value.get("idempotency_key") or context.idempotency_key,
        tenant_id=context.tenant_id,
        date=context.now,
    )
    if len(message.recipients) > MAX_RECIPIENTS:
        text = f"{len(message.recipients)} recipients, at most {MAX_RECIPIENTS} are taken; send several messages"
        raise ActionFailed(text, category=ErrorCategory.VALIDATION, code="EMAIL_TOO_MANY_RECIPIENTS")
    return message
