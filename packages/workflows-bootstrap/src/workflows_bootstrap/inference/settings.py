"""What an installation chooses of AI inference: plain values, filled by the service's settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ProviderKind(StrEnum):
    """Which provider answers."""

    NONE = "none"
    LOCAL = "local"
    OPENAI_COMPATIBLE = "openai-compatible"


@dataclass(frozen=True, slots=True)
class InferenceSettings:
    """Settings of inference.

    Attributes:
        provider: See `ProviderKind`.
        base_url: Of an OpenAI-compatible API, such as `http://localhost:11434/v1`; None takes the vendor's own.
        model: Name of the model where a step names none.
        timeout_seconds: Limit of one request.
        retries: How often a request is repeated after a rate limit, a time-out or a server's fault; each takes a turn.
        requests_per_minute: Of this process; None for no limit.
        tokens_per_minute: Of this process, estimated before the call; None for no limit.
        max_wait_seconds: How long a call waits for its turn under those limits.
    """

    provider: ProviderKind = ProviderKind.NONE
    base_url: str | None = None
    model: str | None = None
    timeout_seconds: float = 60.0
    retries: int = 2
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_wait_seconds: float = 30.0
