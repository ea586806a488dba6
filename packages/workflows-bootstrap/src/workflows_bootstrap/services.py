"""What application-only actions work with: providers and transports, built once from plain settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from workflows_bootstrap.inference.accounting import TokenAccount
from workflows_bootstrap.inference.provider import InferenceProvider
from workflows_bootstrap.inference.service import inference_provider
from workflows_bootstrap.inference.settings import InferenceSettings
from workflows_bootstrap.mail.service import mail_transport
from workflows_bootstrap.mail.settings import MailSettings
from workflows_bootstrap.mail.transport import MailTransport
from workflows_core.actions.ports import SecretProvider


@dataclass(frozen=True, slots=True)
class ApplicationServices:
    """The outside services of one process.

    Attributes:
        inference: Answers `ai.infer`.
        mail: Sends `email.send`.
        mail_sender: Sender where a step names none.
        tokens: What inference has cost so far.
    """

    inference: InferenceProvider
    mail: MailTransport
    mail_sender: str | None = None
    tokens: TokenAccount = field(default_factory=TokenAccount)

    @classmethod
    def build(cls, inference: InferenceSettings, mail: MailSettings, secrets: SecretProvider) -> ApplicationServices:
        """From plain settings; nothing connects before its first use."""
        return cls(inference_provider(inference, secrets), mail_transport(mail, secrets), mail.sender)

    async def close(self) -> None:
        """Gives connections back."""
        await self.inference.close()
        await self.mail.close()
