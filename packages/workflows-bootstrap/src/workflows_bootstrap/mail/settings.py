"""What an installation chooses of e-mail: plain values, filled by the service's settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from workflows_bootstrap.mail.message import is_line, require_address


class TransportKind(StrEnum):
    """How mail is sent."""

    NONE = "none"
    SMTP = "smtp"
    HTTP = "http"


class SmtpSecurity(StrEnum):
    """How a connection to the SMTP server is protected."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class MailSettings:
    """Settings of e-mail sending.

    Attributes:
        transport: See `TransportKind`.
        sender: Address in From where a step names none.
        smtp_host: Host of the SMTP server.
        smtp_port: Its port.
        smtp_security: TLS from the start, STARTTLS, or none.
        smtp_user: For authentication; None sends without.
        smtp_ca: PEM file with the server's CA; None trusts the system's.
        http_url: Where the HTTP provider takes messages.
        timeout_seconds: Limit of each exchange.
    """

    transport: TransportKind = TransportKind.NONE
    sender: str | None = None
    smtp_host: str = "localhost"
    smtp_port: int = 587
    smtp_security: SmtpSecurity = SmtpSecurity.STARTTLS
    smtp_user: str | None = None
    smtp_ca: Path | None = None
    http_url: str | None = None
    timeout_seconds: float = 30.0


def require_sender(address: str) -> None:
    """Does nothing for what can stand in From: an address alone.

    Raises:
        ValueError: With what would be right.
    """
    try:
        if not is_line(address):
            raise ValueError
        require_address(address.strip())
    except ValueError:
        # In our own words: the library's repeat the value.
        message = "is no address of ASCII such as shop@example.com; a name before it is for a step's `from` to give"
        raise ValueError(message) from None
