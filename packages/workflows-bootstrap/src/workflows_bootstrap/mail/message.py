"""A message to send, checked, and its form for SMTP."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email import policy
from email.errors import HeaderParseError
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from workflows_core.errors import ActionFailed, ErrorCategory

MAX_RECIPIENTS = 50
"""Of to, cc and bcc together."""

# Control characters, and what else ends a line for those who build and read headers.
_NO_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

# Given such a text, the library writes what it stands for, which may be a line break and a header behind it.
_LOOKS_ENCODED = "=?"


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address and the name before it."""

    email: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent. `key` is the same for each repetition, so that a receiver can tell one."""

    sender: Mailbox
    to: Sequence[Mailbox]
    subject: str
    key: str
    tenant_id: str
    date: datetime
    cc: Sequence[Mailbox] = ()
    bcc: Sequence[Mailbox] = ()
    reply_to: Mailbox | None = None
    text: str | None = field(default=None, repr=False)
    html: str | None = field(default=None, repr=False)

    @property
    def message_id(self) -> str:
        """The Message-ID, made from the key: a repeated message has the same one."""
        digest = hashlib.sha256(f"{self.tenant_id}\x1f{self.key}".encode()).hexdigest()[:40]
        return f"<{digest}@{self.sender.email.rpartition('@')[2]}>"

    @property
    def recipients(self) -> list[str]:
        """Every address it goes to, each once."""
        return list(dict.fromkeys(one.email for one in (*self.to, *self.cc, *self.bcc)))


def is_line(text: str) -> bool:
    """Whether a text can stand in a header: no line break, of whatever alphabet, and no control character."""
    return _NO_LINE.search(text) is None


def require_address(email: str) -> None:
    """Does nothing for an address that a message can be sent to or from.

    Raises:
        ValueError: With what is wrong with it.
    """
    if not email.isascii():
        raise ValueError("it has other characters than ASCII; write an international domain as xn--…")
    try:
        parsed = Address(addr_spec=email)
    except (ValueError, IndexError, AttributeError, HeaderParseError) as error:
        raise ValueError(str(error)) from None
    if not parsed.username or ("." not in parsed.domain.strip(".") and parsed.domain != "localhost"):
        raise ValueError("it needs a name, @ and a domain")


def mailbox(value: Any, field_name: str, scrub: Callable[[Any], Any]) -> Mailbox:
    """A mailbox of an action's input, checked; `scrub` as of the action's context.

    Raises:
        ActionFailed: `ValidationError` `EMAIL_ADDRESS_INVALID`.
    """
    email, name = value["email"].strip(), value.get("name", "")
    try:
        if not is_line(email + name):
            raise ValueError("it has a line break or another control character")
        require_address(email)
    except ValueError as error:
        shown = scrub(value["email"])
        # What is wrong with a secret would show a part of it.
        reason = str(error) if shown == value["email"] else "it holds a secret, which is not shown"
        message = f"{field_name}: {shown[:80]!r} is no e-mail address: {reason}"
        details = {"field": field_name}
        raise ActionFailed(
            message, category=ErrorCategory.VALIDATION, code="EMAIL_ADDRESS_INVALID", details=details
        ) from None
    return Mailbox(email, name)


def mime(message: Message) -> bytes:
    """The message as SMTP takes it; blind copies are in the envelope only."""
    # Seven bits, since not every server says that it takes eight.
    made = EmailMessage(policy.SMTP.clone(cte_type="7bit"))
    written = ""
    if _LOOKS_ENCODED in message.subject:
        written = f"Subject: {_encoded('Subject', message.subject)}\r\n"
    else:
        made["Subject"] = message.subject
    made["Date"] = format_datetime(message.date)
    made["Message-ID"] = message.message_id
    if message.text is not None:
        made.set_content(message.text)
        if message.html is not None:
            made.add_alternative(message.html, subtype="html")
    elif message.html is not None:
        made.set_content(message.html, subtype="html")
    reply_to = [] if message.reply_to is None else [message.reply_to]
    named = (("From", [message.sender]), ("To", message.to), ("Cc", message.cc), ("Reply-To", reply_to))
    # Written here: the library takes a comma behind a long name for a part of it, and two recipients become one.
    written += "".join(f"{name}: {_mailboxes(name, found)}\r\n" for name, found in named if found)
    return written.encode("ascii") + made.as_bytes()


def _mailboxes(header: str, mailboxes: Sequence[Mailbox]) -> str:
    """Each on lines of its own."""
    return ",\r\n ".join(_written(header, one) for one in mailboxes)


def _written(header: str, one: Mailbox) -> str:
    address = Address(display_name=one.name, addr_spec=one.email)
    if one.name.isascii() and _LOOKS_ENCODED not in one.name:
        return str(address)
    return f"{_encoded(header, one.name)}\r\n <{address.addr_spec}>"


def _encoded(header: str, text: str) -> str:
    return Header(text, "utf-8", header_name=header).encode(linesep="\r\n")
