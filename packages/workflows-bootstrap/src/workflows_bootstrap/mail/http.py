"""A provider that takes messages as JSON over HTTP and recognises a repeated one by its Idempotency-Key.

The body is provider-neutral (docs/application-actions.md); a provider with another one needs a small gateway.
"""

from __future__ import annotations

from typing import Any

import httpx

from workflows_bootstrap.mail.message import Mailbox, Message
from workflows_bootstrap.mail.settings import MailSettings
from workflows_core.actions.action import Effect
from workflows_core.actions.ports import SecretProvider
from workflows_core.actions.secrets import MAIL_KEY_SECRET, bearer_problem
from workflows_core.errors import ActionFailed, ErrorCategory

_MAX_ANSWER_BYTES = 64 * 1024


class HttpTransport:
    """Posts each message to one URL.

    Args:
        settings: See `MailSettings`.
        secrets: Has the provider's key, `MAIL_KEY_SECRET`.
    """

    effect = Effect.IDEMPOTENT

    def __init__(self, settings: MailSettings, secrets: SecretProvider) -> None:
        self._settings = settings
        self._secrets = secrets
        self._client = httpx.AsyncClient(timeout=settings.timeout_seconds, trust_env=False, follow_redirects=False)

    async def send(self, message: Message) -> str | None:
        """See `MailTransport.send`."""
        url = self._settings.http_url
        key = await self._secrets.get(message.tenant_id, MAIL_KEY_SECRET)
        if url is None or key is None:
            missing = "WORKFLOW_MAIL_HTTP_URL is not set" if url is None else f"no secret is called {MAIL_KEY_SECRET}"
            raise ActionFailed(
                f"e-mail cannot be sent: {missing}", category=ErrorCategory.VALIDATION, code="EMAIL_NOT_CONFIGURED"
            )
        unusable = bearer_problem(MAIL_KEY_SECRET, key)
        if unusable is not None:
            raise ActionFailed(unusable, category=ErrorCategory.ACTION, code="EMAIL_UNAUTHORIZED")
        headers = {"authorization": f"Bearer {key}", "idempotency-key": message.message_id.strip("<>")}
        try:
            async with self._client.stream("POST", url, json=_body(message), headers=headers) as response:
                if response.is_success:
                    return await _id_of(response)
                raise _status_failure(response)
        except httpx.TimeoutException:
            text = f"the e-mail provider gave no answer within {self._settings.timeout_seconds:g} s"
            raise ActionFailed(text, category=ErrorCategory.TIMEOUT, code="EMAIL_TIMED_OUT") from None
        except httpx.HTTPError as error:
            text = f"the e-mail provider cannot be reached: {type(error).__name__}"
            raise ActionFailed(text, category=ErrorCategory.TRANSIENT, code="EMAIL_UNREACHABLE") from None

    async def close(self) -> None:
        """Gives connections back."""
        await self._client.aclose()


def _body(message: Message) -> dict[str, Any]:
    body: dict[str, Any] = {
        "from": _json(message.sender),
        "to": [_json(one) for one in message.to],
        "subject": message.subject,
        "messageId": message.message_id,
    }
    for name, found in (("cc", message.cc), ("bcc", message.bcc)):
        if found:
            body[name] = [_json(one) for one in found]
    if message.reply_to is not None:
        body["replyTo"] = _json(message.reply_to)
    bodies = {"text": message.text, "html": message.html}
    return {**body, **{name: text for name, text in bodies.items() if text is not None}}


def _json(one: Mailbox) -> dict[str, str]:
    return {"email": one.email, **({"name": one.name} if one.name else {})}


async def _id_of(response: httpx.Response) -> str | None:
    """The provider's id of the message; an answer that is no JSON, long or cut off has none: the message is sent."""
    content = b""
    try:
        async for part in response.aiter_bytes():
            content += part
            if len(content) > _MAX_ANSWER_BYTES:
                return None
    except httpx.HTTPError:
        return None
    try:
        found = httpx.Response(200, content=content).json()
    except (ValueError, RecursionError):
        return None
    identity = found.get("id") if isinstance(found, dict) else None
    return identity if isinstance(identity, str) else None


def _status_failure(response: httpx.Response) -> ActionFailed:
    """A status as a typed failure; the provider's own words are left out, since they may repeat the key."""
    status = response.status_code
    details: dict[str, Any] = {"status": status}
    if status == httpx.codes.TOO_MANY_REQUESTS:
        after = response.headers.get("retry-after")
        if after is not None:
            details["retryAfter"] = after[:40]
        text = "the e-mail provider says that there are too many messages"
        return ActionFailed(text, category=ErrorCategory.TRANSIENT, code="EMAIL_RATE_LIMITED", details=details)
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        text = "the e-mail provider does not accept the key"
        return ActionFailed(text, category=ErrorCategory.ACTION, code="EMAIL_UNAUTHORIZED", details=details)
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status == httpx.codes.REQUEST_TIMEOUT:
        text = f"the e-mail provider failed with status {status}"
        return ActionFailed(text, category=ErrorCategory.TRANSIENT, code="EMAIL_PROVIDER_FAILED", details=details)
    text = f"the e-mail provider refuses the message with status {status}"
    return ActionFailed(text, category=ErrorCategory.ACTION, code="EMAIL_REFUSED", details=details)
