"""Waiting for a backing service: one line every few seconds says which and where, for as long as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from service_host.errors import Unreachable
from service_host.events import BACKING_SERVICE_REACHED, BACKING_SERVICE_UNREACHABLE
from service_host.logs import log_event

RETRY_SECONDS: Final = 3.0
ATTEMPT_SECONDS: Final = 6.0

Reached = TypeVar("Reached")


async def until_reached(
    attempt: Callable[[], Awaitable[Reached]],
    *,
    on_wait: Callable[[str], None] | None = None,
    give_up_on_permanent: bool = False,
    retry_seconds: float = RETRY_SECONDS,
) -> Reached:
    """Repeat an attempt until it succeeds; cancel the task to give up.

    Args:
        attempt: One try; raises `Unreachable`.
        on_wait: Told why we wait, for the readiness matrix.
        give_up_on_permanent: Raise a failure that waiting will not mend, instead of trying on.
        retry_seconds: Pause between two attempts.

    Raises:
        Unreachable: Only with `give_up_on_permanent`.
    """
    last: Unreachable | None = None
    while True:
        try:
            reached = await attempt()
        except Unreachable as error:
            if error.permanent and give_up_on_permanent:
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
