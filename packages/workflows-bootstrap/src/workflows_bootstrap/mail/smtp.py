"""SMTP. It cannot recognise a repeated message, so what may have been sent is never sent again."""

from __future__ import annotations

import ssl

import aiosmtplib

from workflows_bootstrap.mail.message import Message, mime
from workflows_bootstrap.mail.settings import MailSettings, SmtpSecurity
from workflows_core.actions.action import Effect
from workflows_core.actions.ports import SecretProvider
from workflows_core.actions.secrets import MAIL_KEY_SECRET
from workflows_core.errors import ActionFailed, ErrorCategory

_PERMANENT = 500


class SmtpTransport:
    """Sends over one connection per message.

    Args:
        settings: See `MailSettings`.
        secrets: Has the password, `MAIL_KEY_SECRET`.
    """

    effect = Effect.AT_MOST_ONCE

    def __init__(self, settings: MailSettings, secrets: SecretProvider) -> None:
        self._settings = settings
        self._secrets = secrets

    async def send(self, message: Message) -> str | None:
        """See `MailTransport.send`. Every recipient is taken, or nothing is sent."""
        # Built first: what cannot be written down is no reason to open a connection.
        content = mime(message)
        client = await self._connected(message.tenant_id)
        try:
            await self._envelope(client, message)
            return await self._data(client, content)
        finally:
            client.close()

    async def close(self) -> None:
        """Nothing to give back."""

    async def _connected(self, tenant_id: str) -> aiosmtplib.SMTP:
        settings = self._settings
        password = None
        if settings.smtp_user is not None:
            password = await self._secrets.get(tenant_id, MAIL_KEY_SECRET)
            if password is None:
                message = f"no secret is called {MAIL_KEY_SECRET}; create it with the SMTP password"
                raise ActionFailed(message, category=ErrorCategory.VALIDATION, code="EMAIL_NOT_CONFIGURED")
        client = aiosmtplib.SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            timeout=settings.timeout_seconds,
            use_tls=settings.smtp_security is SmtpSecurity.TLS,
            start_tls=settings.smtp_security is SmtpSecurity.STARTTLS,
            tls_context=None
            if settings.smtp_security is SmtpSecurity.NONE
            else ssl.create_default_context(cafile=settings.smtp_ca),
        )
        try:
            await client.connect()
            if settings.smtp_user is not None and password is not None:
                await self._authenticated(client, settings.smtp_user, password)
        except BaseException as error:
            client.close()
            if isinstance(error, (aiosmtplib.SMTPException, OSError)):
                raise self._before_data(error) from None
            raise
        return client

    async def _authenticated(self, client: aiosmtplib.SMTP, user: str, password: str) -> None:
        try:
            await client.login(user, password)
        except aiosmtplib.SMTPException as error:
            if type(error) is not aiosmtplib.SMTPException:
                raise
            # The library's plain error says that the server offers no authentication, or none that it knows.
            raise aiosmtplib.SMTPNotSupported(error.message) from None

    async def _envelope(self, client: aiosmtplib.SMTP, message: Message) -> None:
        try:
            await client.mail(message.sender.email)
            for recipient in message.recipients:
                await client.rcpt(recipient)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise self._before_data(error) from None

    async def _data(self, client: aiosmtplib.SMTP, content: bytes) -> str | None:
        try:
            answer = await client.data(content)
        except aiosmtplib.SMTPResponseException as error:
            if error.code < 0:
                raise self._unknown(error) from None
            raise self._before_data(error) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise self._unknown(error) from None
        return answer.message

    def _before_data(self, error: Exception) -> ActionFailed:
        """A failure after which nothing was sent; the server's words are left out but for its code."""
        where = f"{self._settings.smtp_host}:{self._settings.smtp_port}"
        if isinstance(error, (aiosmtplib.SMTPTimeoutError, TimeoutError)):
            message = f"the SMTP server {where} gave no answer within {self._settings.timeout_seconds:g} s"
            return ActionFailed(message, category=ErrorCategory.TIMEOUT, code="EMAIL_TIMED_OUT")
        if isinstance(error, (aiosmtplib.SMTPAuthenticationError, aiosmtplib.SMTPNotSupported)):
            message = f"the SMTP server {where} does not accept the user or the password, or has no such authentication"
            return ActionFailed(message, category=ErrorCategory.ACTION, code="EMAIL_UNAUTHORIZED")
        if isinstance(error, aiosmtplib.SMTPResponseException) and error.code > 0:
            details = {"smtpCode": error.code}
            if error.code >= _PERMANENT:
                message = f"the SMTP server {where} refuses the message with code {error.code}"
                return ActionFailed(message, category=ErrorCategory.ACTION, code="EMAIL_REFUSED", details=details)
            message = f"the SMTP server {where} puts the message off with code {error.code}"
            return ActionFailed(message, category=ErrorCategory.TRANSIENT, code="EMAIL_DEFERRED", details=details)
        if type(error) is aiosmtplib.SMTPException and self._settings.smtp_security is SmtpSecurity.STARTTLS:
            # The library's plain error, again: of connecting it says this.
            reason = "offers no STARTTLS; WORKFLOW_MAIL_SMTP_SECURITY says how it is spoken to"
        else:
            reason = f"cannot be reached, or its TLS is not right: {type(error).__name__}"
        message = f"the SMTP server {where} {reason}"
        return ActionFailed(message, category=ErrorCategory.TRANSIENT, code="EMAIL_UNREACHABLE")

    def _unknown(self, error: Exception) -> ActionFailed:
        where = f"{self._settings.smtp_host}:{self._settings.smtp_port}"
        message = (
            f"the connection to {where} broke after the message was handed over ({type(error).__name__}): "
            "it may have been sent, so it is not sent again"
        )
        return ActionFailed(message, category=ErrorCategory.UNKNOWN_OUTCOME, code="EMAIL_OUTCOME_UNKNOWN")
