"""The transport that the settings name."""

from __future__ import annotations

from workflows_bootstrap.mail.http import HttpTransport
from workflows_bootstrap.mail.message import Message
from workflows_bootstrap.mail.settings import MailSettings, TransportKind
from workflows_bootstrap.mail.smtp import SmtpTransport
from workflows_bootstrap.mail.transport import MailTransport
from workflows_core.actions.action import Effect
from workflows_core.actions.ports import SecretProvider
from workflows_core.errors import ActionFailed, ErrorCategory


class NoTransport:
    """What sends where nothing is configured: an error that says what to set."""

    effect = Effect.IDEMPOTENT

    async def send(self, message: Message) -> str | None:
        """Refuses.

        Raises:
            ActionFailed: `EMAIL_NOT_CONFIGURED`.
        """
        text = "this installation sends no e-mail: set WORKFLOW_MAIL_TRANSPORT of workflow-server"
        raise ActionFailed(text, category=ErrorCategory.ACTION, code="EMAIL_NOT_CONFIGURED")

    async def close(self) -> None:
        """Nothing to give back."""


def mail_transport(settings: MailSettings, secrets: SecretProvider) -> MailTransport:
    """Builds the transport; it connects on first use."""
    match settings.transport:
        case TransportKind.SMTP:
            return SmtpTransport(settings, secrets)
        case TransportKind.HTTP:
            return HttpTransport(settings, secrets)
    return NoTransport()
