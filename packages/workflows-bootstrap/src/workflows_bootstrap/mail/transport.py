"""The one protocol behind which every way to send e-mail stands."""

from __future__ import annotations

from typing import Protocol

from workflows_bootstrap.mail.message import Message
from workflows_core.actions.action import Effect


class MailTransport(Protocol):
    """Sends messages."""

    @property
    def effect(self) -> Effect:
        """`idempotent` where the receiver recognises a repeated message, else `at-most-once`."""
        ...

    async def send(self, message: Message) -> str | None:
        """Hands the message over; gives the provider's own id of it, if it has one.

        Raises:
            ActionFailed: Nothing was sent: `TimeoutError` `EMAIL_TIMED_OUT`; `TransientError` `EMAIL_UNREACHABLE`,
                `EMAIL_RATE_LIMITED`, `EMAIL_DEFERRED`, `EMAIL_PROVIDER_FAILED`; `ActionError` `EMAIL_UNAUTHORIZED`,
                `EMAIL_REFUSED`, `EMAIL_NOT_CONFIGURED`. Perhaps it was: `UnknownOutcome` `EMAIL_OUTCOME_UNKNOWN`.
        """
        ...

    async def close(self) -> None:
        """Gives connections back."""
        ...
