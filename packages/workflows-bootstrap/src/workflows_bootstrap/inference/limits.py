"""Rate limits of one process: a call waits for its turn, and not for ever."""

from __future__ import annotations

import asyncio

from aiolimiter import AsyncLimiter

from workflows_core.errors import ActionFailed, ErrorCategory

_MINUTE = 60.0
_CHARACTERS_PER_TOKEN = 4
"""A usual estimate; the provider counts exactly, afterwards."""

DEFAULT_ANSWER_TOKENS = 1_000
"""Estimate of an answer that has no limit of its own."""


def estimated_tokens(text: str, max_tokens: int | None) -> int:
    """About how many tokens a call will use, question and answer."""
    return len(text) // _CHARACTERS_PER_TOKEN + (max_tokens or DEFAULT_ANSWER_TOKENS)


class RateLimits:
    """Requests and tokens per minute.

    Args:
        requests_per_minute: None for no limit.
        tokens_per_minute: None for no limit.
        max_wait_seconds: How long a call may wait.
    """

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None, max_wait_seconds: float) -> None:
        self._requests = None if requests_per_minute is None else AsyncLimiter(requests_per_minute, _MINUTE)
        self._tokens = None if tokens_per_minute is None else AsyncLimiter(tokens_per_minute, _MINUTE)
        self._max_wait_seconds = max_wait_seconds

    async def take(self, tokens: int) -> None:
        """Waits for a turn.

        Raises:
            ActionFailed: `PayloadTooLarge` `AI_REQUEST_TOO_LARGE`: no minute has that many tokens;
                `TransientError` `AI_RATE_LIMITED`: the turn does not come in time.
        """
        if self._tokens is not None and tokens > self._tokens.max_rate:
            message = (
                f"the call needs about {tokens} tokens, and this process may use {self._tokens.max_rate:g} a minute: "
                "shorten the prompt, lower maxTokens, or raise WORKFLOW_AI_TOKENS_PER_MINUTE"
            )
            raise ActionFailed(message, category=ErrorCategory.PAYLOAD_TOO_LARGE, code="AI_REQUEST_TOO_LARGE")
        try:
            async with asyncio.timeout(self._max_wait_seconds):
                if self._requests is not None:
                    await self._requests.acquire()
                if self._tokens is not None:
                    await self._tokens.acquire(tokens)
        except TimeoutError:
            message = f"this process's own AI rate limit gave the call no turn within {self._max_wait_seconds:g} s"
            raise ActionFailed(message, category=ErrorCategory.TRANSIENT, code="AI_RATE_LIMITED") from None
