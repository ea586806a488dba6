"""The one protocol behind which every AI provider stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from workflows_core.errors import ActionFailed

MAX_ANSWER_BYTES = 256 * 1024
"""A provider's answer above this, in UTF-8, is refused as `AI_OUTPUT_TOO_LARGE`."""


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """One question.

    Attributes:
        prompt: What is asked.
        output_schema: JSON Schema (2020-12) of the answer, an object.
        system: Instructions that stand above the prompt.
        model: Name of the model; None takes the provider's own.
        temperature: From 0 (always the likeliest) to 2; None takes the provider's own.
        max_tokens: Most tokens of the answer; None takes the provider's own.
        tenant_id: Who asks; a key may be the tenant's.
    """

    prompt: str = field(repr=False)
    output_schema: Mapping[str, Any] = field(repr=False)
    tenant_id: str
    system: str | None = field(default=None, repr=False)
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer cost, in the provider's tokens."""

    model: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class InferenceAnswer:
    """An answer as the provider wrote it: text that should be JSON; nothing about it is checked yet.

    Attributes:
        text: The answer.
        usage: What it cost.
        unusable: Why it is none, though it was paid for: refused, or cut off.
    """

    text: str = field(repr=False)
    usage: Usage
    unusable: ActionFailed | None = None


class InferenceProvider(Protocol):
    """Answers questions."""

    async def infer(self, request: InferenceRequest) -> InferenceAnswer:
        """The answer.

        Raises:
            ActionFailed: `TimeoutError` `AI_TIMED_OUT`; `TransientError` `AI_UNREACHABLE`, `AI_RATE_LIMITED`,
                `AI_PROVIDER_FAILED`; `QuotaExceeded` `AI_QUOTA_EXHAUSTED`; `ActionError` `AI_UNAUTHORIZED`,
                `AI_REQUEST_REFUSED`, `AI_NOT_CONFIGURED`; `PayloadTooLarge` `AI_OUTPUT_TOO_LARGE`,
                `AI_REQUEST_TOO_LARGE`.
        """
        ...

    async def close(self) -> None:
        """Gives connections back."""
        ...
