"""What an installation chooses of e-mail: plain values, filled by the service's settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


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
