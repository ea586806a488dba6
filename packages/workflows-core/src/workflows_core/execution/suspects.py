"""Calls that may have killed their worker run one at a time per process, so that a death tells which one it was.

Nor do they run in a process that has not lived for a while since the first of them came: one that dies of something
else, again and again, soon after its start, would be put down to them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from workflows_core.wire.records import ActionCall

PROVED_AFTER = timedelta(seconds=5)
"""A process that lives for so long with suspects that wait does not die at once without them."""

_COME_BACK = timedelta(seconds=1)


class Suspects:
    """Those of one process."""

    def __init__(self, proved_after: timedelta = PROVED_AFTER) -> None:
        self._running = asyncio.Semaphore(1)
        self._proved_after = proved_after
        self._first_came: float | None = None

    @asynccontextmanager
    async def turn(self, call: ActionCall) -> AsyncIterator[None]:
        """Holds the one place for suspects of this process.

        Raises:
            ApplicationError: It is taken, or the process too young. Temporal tries again, so that what waits holds no
                slot of the worker.
        """
        if self._first_came is None:
            self._first_came = time.monotonic()
        if time.monotonic() < self._first_came + self._proved_after.total_seconds():
            raise _wait(call, "until this process has lived for a while without it")
        if self._running.locked():
            raise _wait(call, "for its turn to run alone")
        async with self._running:
            yield


OF_THIS_PROCESS = Suspects()


def _wait(call: ActionCall, what_for: str) -> ApplicationError:
    key = f"{call['action_id']}@{call['action_version']}"
    return ApplicationError(
        f"{key} lost its worker three times; it waits {what_for}",
        type="SuspectWaits",
        next_retry_delay=_COME_BACK,
        category=ApplicationErrorCategory.BENIGN,
    )
