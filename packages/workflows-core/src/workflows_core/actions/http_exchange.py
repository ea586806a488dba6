"""One HTTP exchange, with an address that was checked, within bounds: what `http.request` does when it is called."""

from __future__ import annotations

import asyncio
import json
import ssl
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpcore
import httpx

from workflows_core.actions.action import ActionContext
from workflows_core.actions.call import scrub
from workflows_core.actions.http_lookups import looked_up_for
from workflows_core.actions.http_messages import Outgoing, Unpacker, decoded, outgoing, redirected, too_large
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.http_schemas import DEFAULT_TIMEOUT_MS
from workflows_core.actions.http_transport import AddressRefused, HostUnresolved, new_pool
from workflows_core.actions.retry_after import retry_after_ms
from workflows_core.errors import ActionFailed, ErrorCategory, Json

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SHOWN_BODY_LENGTH = 1_000
_SHOWN_REASON_LENGTH = 300
_SHOWN_HEADER_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Exchange:
    """Carries out requests under a policy.

    Attributes:
        policy: What may be reached, and how much.
        tls: For https.
    """

    policy: HttpPolicy
    tls: ssl.SSLContext

    @classmethod
    def of(cls, policy: HttpPolicy) -> Exchange:
        """With the policy's TLS context, or one that trusts the usual authorities."""
        return cls(policy, policy.tls or httpx.create_ssl_context(trust_env=False))

    async def request(self, value: Any, context: ActionContext) -> Json:
        """The action's handler."""
        request = outgoing(value, context.idempotency_key, self.policy.max_request_bytes)
        limit_ms = min(int(value.get("timeoutMs", DEFAULT_TIMEOUT_MS)), self.policy.max_timeout_ms)
        follow = value.get("followRedirects", True)
        try:
            with looked_up_for(context.tenant_id):
                async with asyncio.timeout(limit_ms / 1000):
                    answer = await self._exchange(request, follow=follow)
        except (TimeoutError, httpcore.TimeoutException):
            message = f"{_what(request)} took longer than {limit_ms} ms"
            raise ActionFailed(message, category=ErrorCategory.TIMEOUT, code="HTTP_TIMEOUT") from None
        except AddressRefused as error:
            raise ActionFailed(str(error), category=ErrorCategory.VALIDATION, code="HTTP_ADDRESS_REFUSED") from None
        except httpcore.LocalProtocolError:
            message = f"{_what(request)} cannot be written as an HTTP request"
            raise ActionFailed(message, category=ErrorCategory.VALIDATION, code="HTTP_REQUEST_INVALID") from None
        except (HostUnresolved, httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, zlib.error) as error:
            reason = scrub(context.scrub(_reason(error)), request.private)
            message = f"{_what(request)} failed: {reason[:_SHOWN_REASON_LENGTH]}"
            raise ActionFailed(message, category=ErrorCategory.TRANSIENT, code="HTTP_CONNECTION_FAILED") from None
        answer = scrub(answer, request.private)
        expected = value.get("expectedStatuses")
        status = answer["status"]
        if status not in expected if expected is not None else not 200 <= status <= 299:
            # Before anything is cut: half a secret is not recognised any more.
            raise _status_failure(request, context.scrub(answer), context.now)
        return answer

    async def _exchange(self, request: Outgoing, *, follow: bool) -> dict[str, Json]:
        for _ in range(self.policy.max_redirects + 1):
            async with new_pool(self.policy, self.tls) as pool:
                headers = [(b"host", request.url.netloc)]
                headers += [(name.encode(), text.encode()) for name, text in request.headers.items()]
                url = httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                )
                # No body at all instead of an empty one, unless the method means one.
                content = request.body if request.body or request.method in ("POST", "PUT", "PATCH") else None
                async with pool.stream(request.method, url, headers=headers, content=content) as response:
                    found = _headers(response.headers)
                    if not (follow and response.status in _REDIRECTS and found.get("location")):
                        return await self._answer(request, response, found)
            request = redirected(request, response.status, found["location"])
        raise ActionFailed(
            f"{_what(request)} was redirected more than {self.policy.max_redirects} times",
            code="HTTP_TOO_MANY_REDIRECTS",
        )

    async def _answer(
        self, request: Outgoing, response: httpcore.Response, headers: Mapping[str, str]
    ) -> dict[str, Json]:
        limit = self.policy.max_response_bytes
        declared = headers.get("content-length", "")
        if request.method != "HEAD" and declared.isdecimal() and int(declared[:20]) > limit:
            raise too_large(limit)
        encoding = headers.get("content-encoding", "").strip().lower()
        unpacker = Unpacker(encoding, limit)
        async for piece in response.aiter_stream():
            unpacker.feed(piece)
        body = decoded(headers.get("content-type", ""), encoding, unpacker.end())
        return {"status": response.status, "headers": dict(headers), **body}


def _headers(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Lower-case names; the values of a repeated one are joined."""
    out: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), _header_text(value)
        out[key] = f"{out[key]}, {text}" if key in out else text
    return out


def _header_text(value: bytes) -> str:
    """As servers write today what is no ASCII, else as they did."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return text.replace("\x00", "")


def _what(request: Outgoing) -> str:
    return f"{request.method} to {request.origin}"


def _reason(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate is not trusted: {cause.verify_message}"
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def _status_failure(request: Outgoing, answer: dict[str, Any], now: datetime) -> ActionFailed:
    status, headers = answer["status"], answer["headers"]
    details: dict[str, Json] = {"status": status, "method": request.method, "origin": request.origin}
    if answer["bodyEncoding"] == "text":
        details["body"] = answer["body"][:_SHOWN_BODY_LENGTH]
    elif answer["json"] is not None:
        details["body"] = _excerpt(answer["json"])
    if "retry-after" in headers:
        details["retryAfter"] = headers["retry-after"][:_SHOWN_HEADER_LENGTH]
        details["retryAfterMs"] = retry_after_ms(headers["retry-after"], now)
    transient = status == 429 or status >= 500
    return ActionFailed(
        f"{_what(request)} was answered with status {status}",
        category=ErrorCategory.TRANSIENT if transient else ErrorCategory.ACTION,
        code="HTTP_STATUS",
        details=details,
    )


def _excerpt(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)[:_SHOWN_BODY_LENGTH]
