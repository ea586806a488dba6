"""Waiting for a backing service: one line every few seconds says which and where, for as long as it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from service_host.errors import Unreachable
from service_host.events import BACKING_SERVICE_REACHED, BACKING_SERVICE_UNREACHABLE
from service_host.logs import log_event

RETRY_SECONDS: Final = 3.0
ATTEMPT_SECONDS: Final = 6.0
PATIENCE_SECONDS: Final = 15.0
"""How long an answer that waiting does not change may go on: what was made just now is not known everywhere at once."""

Reached = TypeVar("Reached")


async def until_reached(
    attempt: Callable[[], Awaitable[Reached]],
    *,
    on_wait: Callable[[str], None] | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
    retry_seconds: float = RETRY_SECONDS,
) -> Reached:
    """Repeat an attempt until it succeeds; cancel the task to give up.

    Args:
        attempt: One try; raises `Unreachable`.
        on_wait: Told why we wait, for the readiness matrix.
        patience_seconds: How long a failure that waiting will not mend may go on before it is raised.
        retry_seconds: Pause between two attempts.

    Raises:
        Unreachable: A `permanent` one.
    """
    last: Unreachable | None = None
    permanent_since: float | None = None
    while True:
        try:
            reached = await attempt()
        except Unreachable as error:
            permanent_since = (permanent_since or time.monotonic()) if error.permanent else None
            if permanent_since is not None and time.monotonic() - permanent_since >= patience_seconds:
                raise
            last = error
            if on_wait is not None:
                on_wait(f"waiting for {error}")
            log_event(
                BACKING_SERVICE_UNREACHABLE,
                f"{error.service} at {error.address} is not reachable: {error.reason}; "
                f"next attempt in {retry_seconds:g} s",
                level="WARNING",
                backing_service=error.service,
                address=error.address,
            )
            await asyncio.sleep(retry_seconds)
            continue
        if last is not None:
            log_event(
                BACKING_SERVICE_REACHED,
                f"{last.service} at {last.address} answers now",
                backing_service=last.service,
                address=last.address,
            )
        return reached
