"""Any server that speaks the OpenAI chat completions API: the vendor's, a gateway, or a model on one's own machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import httpx

from workflows_bootstrap.inference.limits import RateLimits, estimated_tokens
from workflows_bootstrap.inference.provider import InferenceAnswer, InferenceRequest, Usage
from workflows_bootstrap.inference.repeats import pause, pause_after
from workflows_bootstrap.inference.settings import InferenceSettings
from workflows_core.actions.ports import SecretProvider
from workflows_core.actions.secrets import AI_KEY_SECRET, bearer_problem
from workflows_core.errors import ActionFailed, ErrorCategory

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI
    from openai.types.chat import ChatCompletion
    from openai.types.chat.chat_completion import Choice

VENDOR_URL: Final = "https://api.openai.com/v1"

CALL_SECONDS: Final = 290.0
"""Limit of one call with its repeated requests and its waits, below `action.TIMEOUT_MS`, so that the code tells why."""

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
"""Of one answer with all that is around its text, such as a model's reasoning; no more of it is read."""

_MOST_TOKENS = 10**9
_UNUSED_KEY = "resolved-for-each-call"


class OpenAiCompatibleProvider:
    """Asks over HTTP, with time-outs, bounded retries and rate limits.

    Args:
        settings: See `InferenceSettings`.
        secrets: Has the API key, `AI_KEY_SECRET`, looked up for the tenant at each call.
    """

    def __init__(self, settings: InferenceSettings, secrets: SecretProvider) -> None:
        self._settings = settings
        self._secrets = secrets
        self._limits = RateLimits(settings.requests_per_minute, settings.tokens_per_minute, settings.max_wait_seconds)
        self._client: AsyncOpenAI | None = None

    async def infer(self, request: InferenceRequest) -> InferenceAnswer:
        """See `InferenceProvider.infer`; the answer is asked for as JSON of the request's schema."""
        model = request.model or self._settings.model
        if model is None:
            message = "no model: name one in the step (`model`) or set WORKFLOW_AI_MODEL"
            raise ActionFailed(message, category=ErrorCategory.VALIDATION, code="AI_NOT_CONFIGURED")
        key = await self._key(request.tenant_id)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await self._answered(request, model, self._connected().with_options(api_key=key))
        except TimeoutError:
            raise _timed_out(CALL_SECONDS) from None

    async def close(self) -> None:
        """Gives connections back."""
        if self._client is not None:
            await self._client.close()

    async def _answered(self, request: InferenceRequest, model: str, client: AsyncOpenAI) -> InferenceAnswer:
        """The first answer that is none of the errors worth another request. Every request takes its turn."""
        import openai  # noqa: PLC0415 - see `_connected`

        tokens = estimated_tokens(request.prompt + (request.system or ""), request.max_tokens)
        loop = asyncio.get_running_loop()
        over = loop.time() + CALL_SECONDS
        wait: float | None
        repeats = 0
        while True:
            await self._limits.take(tokens)
            try:
                return _answer(await client.chat.completions.create(**_body(request, model)), model)
            except openai.APITimeoutError:
                failure, wait = _timed_out(self._settings.timeout_seconds), pause(repeats)
            except openai.APIStatusError as error:
                failure = _status_failure(error)
                used_up = failure.failure.category is ErrorCategory.QUOTA_EXCEEDED
                wait = None if used_up else pause_after(error.status_code, error.response.headers, repeats)
            except openai.APIConnectionError as error:
                if isinstance(error.__cause__, _TooLarge):
                    raise _too_large() from None
                message = f"the AI provider cannot be reached: {type(error.__cause__ or error).__name__}"
                failure = ActionFailed(message, category=ErrorCategory.TRANSIENT, code="AI_UNREACHABLE")
                wait = pause(repeats)
            except (openai.OpenAIError, ValueError, RecursionError) as error:
                # A body that is no JSON, or nested without end.
                raise _garbage(type(error).__name__) from None
            if wait is None or repeats == self._settings.retries or loop.time() + wait >= over:
                raise failure
            await asyncio.sleep(wait)
            repeats += 1

    def _connected(self) -> AsyncOpenAI:
        import openai  # noqa: PLC0415 - half a second of imports, which `describe` and `check` can do without

        if self._client is None:
            self._client = openai.AsyncOpenAI(
                api_key=_UNUSED_KEY,
                # Never left to the SDK, which would take another address from the environment.
                base_url=self._settings.base_url or VENDOR_URL,
                timeout=self._settings.timeout_seconds,
                # Its own would take no turn under the limits.
                max_retries=0,
                http_client=_bounded_client(self._settings.timeout_seconds),
            )
        return self._client

    async def _key(self, tenant_id: str) -> str:
        key = await self._secrets.get(tenant_id, AI_KEY_SECRET)
        if key is None:
            message = f"no secret is called {AI_KEY_SECRET}; create it with the API key of the AI provider"
            raise ActionFailed(message, category=ErrorCategory.VALIDATION, code="AI_NOT_CONFIGURED")
        unusable = bearer_problem(AI_KEY_SECRET, key)
        if unusable is not None:
            raise ActionFailed(unusable, category=ErrorCategory.ACTION, code="AI_UNAUTHORIZED")
        return key


class _TooLarge(Exception):
    """Indicates that an answer has no end in sight."""


class _BoundedBody(httpx.AsyncByteStream):
    def __init__(self, body: httpx.AsyncByteStream) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._body:
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise _TooLarge
            yield part

    async def aclose(self) -> None:
        await self._body.aclose()


class _Bounded(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        found = await super().handle_async_request(request)
        if isinstance(found.stream, httpx.AsyncByteStream):
            found.stream = _BoundedBody(found.stream)
        return found


def _bounded_client(timeout_seconds: float) -> httpx.AsyncClient:
    # Uncompressed: a few bytes may stand for any number of them.
    headers = {"accept-encoding": "identity"}
    return httpx.AsyncClient(transport=_Bounded(), trust_env=False, timeout=timeout_seconds, headers=headers)


def _body(request: InferenceRequest, model: str) -> dict[str, Any]:
    messages = [] if request.system is None else [{"role": "system", "content": request.system}]
    body: dict[str, Any] = {
        "model": model,
        "messages": [*messages, {"role": "user", "content": request.prompt}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "output", "schema": dict(request.output_schema)},
        },
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.max_tokens is not None:
        body["max_completion_tokens"] = request.max_tokens
    return body


def _answer(completion: ChatCompletion, model: str) -> InferenceAnswer:
    try:
        return _read(completion, model)
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        # The SDK looks at no shape: whatever JSON came is here.
        raise _garbage(type(error).__name__) from None


def _read(completion: ChatCompletion, model: str) -> InferenceAnswer:
    choices = getattr(completion, "choices", None)
    if not choices or getattr(choices[0], "message", None) is None:
        raise _garbage("no choices")
    choice = choices[0]
    counted = getattr(completion, "usage", None)
    usage = Usage(model, _tokens(counted, "prompt_tokens"), _tokens(counted, "completion_tokens"))
    content = choice.message.content if isinstance(choice.message.content, str) else ""
    return InferenceAnswer(content, usage, _unusable(choice))


def _tokens(counted: object, name: str) -> int:
    """A number of tokens that may be: totals of them are a metric, which never falls."""
    return min(max(int(getattr(counted, name, 0) or 0), 0), _MOST_TOKENS)


def _unusable(choice: Choice) -> ActionFailed | None:
    """Why an answer that was paid for is none."""
    if getattr(choice.message, "refusal", None) or choice.finish_reason == "content_filter":
        return ActionFailed("the AI model refused to answer", category=ErrorCategory.ACTION, code="AI_REFUSED")
    if choice.finish_reason == "length":
        message = "the AI model's answer was cut at its limit of tokens; raise maxTokens or ask for less"
        return ActionFailed(message, category=ErrorCategory.ACTION, code="AI_OUTPUT_TRUNCATED")
    return None if isinstance(choice.message.content, str) else _garbage("no content")


def _timed_out(seconds: float) -> ActionFailed:
    message = f"the AI provider gave no answer within {seconds:g} s"
    return ActionFailed(message, category=ErrorCategory.TIMEOUT, code="AI_TIMED_OUT")


def _too_large() -> ActionFailed:
    message = f"the AI provider's answer has more than {MAX_BODY_BYTES} bytes, of which no more is read; ask for less"
    return ActionFailed(message, category=ErrorCategory.PAYLOAD_TOO_LARGE, code="AI_OUTPUT_TOO_LARGE")


def _garbage(what: str) -> ActionFailed:
    message = f"the AI provider's answer is not one of the chat completions API ({what}); check WORKFLOW_AI_BASE_URL"
    return ActionFailed(message, category=ErrorCategory.ACTION, code="AI_ANSWER_UNREADABLE")


def _status_failure(error: APIStatusError) -> ActionFailed:
    """A status as a typed failure; a provider's own words are left out, since they may repeat the key."""
    status = error.status_code
    details: dict[str, Any] = {"status": status}
    if status == httpx.codes.TOO_MANY_REQUESTS and error.code == "insufficient_quota":
        message = "the AI provider says that the quota is used up"
        return ActionFailed(message, category=ErrorCategory.QUOTA_EXCEEDED, code="AI_QUOTA_EXHAUSTED", details=details)
    if status == httpx.codes.TOO_MANY_REQUESTS:
        after = error.response.headers.get("retry-after")
        if after is not None:
            details["retryAfter"] = after[:40]
        message = "the AI provider says that there are too many requests"
        return ActionFailed(message, category=ErrorCategory.TRANSIENT, code="AI_RATE_LIMITED", details=details)
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        message = "the AI provider does not accept the API key, or not for this model"
        return ActionFailed(message, category=ErrorCategory.ACTION, code="AI_UNAUTHORIZED", details=details)
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status == httpx.codes.REQUEST_TIMEOUT:
        message = f"the AI provider failed with status {status}"
        return ActionFailed(message, category=ErrorCategory.TRANSIENT, code="AI_PROVIDER_FAILED", details=details)
    if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
        message = "the AI provider finds the request too large; shorten the prompt"
        return ActionFailed(message, category=ErrorCategory.PAYLOAD_TOO_LARGE, code="AI_REQUEST_TOO_LARGE")
    message = f"the AI provider refuses the request with status {status}: check model, schema and limits"
    return ActionFailed(message, category=ErrorCategory.ACTION, code="AI_REQUEST_REFUSED", details=details)
