"""Calls that may have killed their worker run one at a time per process, so that a death tells which one it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from workflows_core.wire.records import ActionCall

_COME_BACK = timedelta(seconds=1)
_running = asyncio.Semaphore(1)
"""Of this process."""


@asynccontextmanager
async def turn(call: ActionCall) -> AsyncIterator[None]:
    """Holds the one place for suspects of this process.

    Raises:
        ApplicationError: It is taken. Temporal tries again, so that what waits holds no slot of the worker.
    """
    if _running.locked():
        key = f"{call['action_id']}@{call['action_version']}"
        raise ApplicationError(
            f"{key} lost its worker three times; it waits for its turn to run alone",
            type="SuspectWaits",
            next_retry_delay=_COME_BACK,
            category=ApplicationErrorCategory.BENIGN,
        )
    async with _running:
        yield
