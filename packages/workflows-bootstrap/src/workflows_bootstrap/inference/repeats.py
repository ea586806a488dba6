"""When a request to a provider is worth repeating, and after which pause."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from workflows_core.actions.retry_after import retry_after_ms

MAX_PAUSE_SECONDS: Final = 60.0
"""Who asks for a longer pause is not asked again by this call; the step's own retries may."""

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 8.0
_WORTH_IT = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS},
)


def pause(repeats: int) -> float:
    """Seconds before the next request after so many repeated ones: longer each time, and never quite the same."""
    longest = min(_FIRST_PAUSE_SECONDS * 2.0**repeats, _LONGEST_PAUSE_SECONDS)
    return longest * random.uniform(0.75, 1)  # noqa: S311 - it spreads load, and hides nothing


def pause_after(status: int, headers: Mapping[str, str], repeats: int) -> float | None:
    """Seconds before the next request after an answer; None when it is not worth one.

    Args:
        status: Of the answer, an error.
        headers: Of the answer, names in lower case; `x-should-retry` and the server's own pause count.
        repeats: Requests that were repeated before.
    """
    told = headers.get("x-should-retry")
    worth_it = status in _WORTH_IT or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if told == "false" or not (worth_it or told == "true"):
        return None
    asked = _asked_seconds(headers)
    if asked is None or asked <= 0:
        return pause(repeats)
    return asked if asked <= MAX_PAUSE_SECONDS else None


def _asked_seconds(headers: Mapping[str, str]) -> float | None:
    """What the server asks for: `retry-after-ms`, else `retry-after` as seconds or as a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        return seconds if not math.isnan(seconds) else None
    found = retry_after_ms(headers.get("retry-after", ""), datetime.now(UTC))
    return None if found is None else found / 1000
