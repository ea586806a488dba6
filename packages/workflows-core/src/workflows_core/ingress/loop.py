"""The ingress of a process: routes what is pending, sends what is ready, waits for more."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import get_args

from sqlalchemy.exc import DBAPIError

from workflows_core.expressions.engine import ExpressionEngine
from workflows_core.ingress.just_routed import JustRouted
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.ingress.router import route_pending
from workflows_core.ingress.sender import Sender
from workflows_core.ingress.wake import Wake, What
from workflows_core.launching.launcher import Launcher
from workflows_core.progress import LoopProgress
from workflows_core.storage.database import Database, is_unavailable, unavailable_reason

_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 5.0
_SECONDS_BETWEEN_LINES = 5.0
_log = logging.getLogger(__name__)


class IngressLoop:
    """Event ingress. Any number of processes may run one at a time.

    Args:
        db: The database, as the application role.
        launcher: Sends signals and starts runs.
        engine: Evaluates the payload mappings of triggers.
        policy: Bounds.
    """

    def __init__(
        self, db: Database, launcher: Launcher, engine: ExpressionEngine, policy: IngressPolicy | None = None
    ) -> None:
        self._db = db
        self._policy = policy or IngressPolicy()
        self._just_routed = JustRouted(self._policy.lease_seconds, self._policy.batch_size)
        self._sender = Sender(db, launcher, engine, self._policy, self._just_routed)
        self._at_rest = False
        self._next_line = 0.0

    async def run(self, progress: LoopProgress) -> None:
        """Runs until cancelled; a cancel lets the events and deliveries in flight be finished first.

        Routing and sending go on side by side: what can be sent does not wait for a batch of events to be routed.
        """
        turns = _Turns(progress)
        wake = Wake(self._db.engine)
        self._just_routed.on_add = lambda: wake.hint("delivery")
        listener = asyncio.create_task(wake.listen())
        try:
            async with asyncio.TaskGroup() as lanes:
                lanes.create_task(self._lane(turns, wake, "event", self.route))
                lanes.create_task(self._lane(turns, wake, "delivery", self._sender.send_ready))
        except ExceptionGroup as group:
            # One lane's fault ends the other one; people are told of the fault, not of the group.
            raise group.exceptions[0] from None
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
            # Another process would send it too, but only when the lease is over.
            with suppress(Exception):
                await self._sender.send_rest()

    async def route(self) -> int:
        """Routes the events that are due; how many were taken.

        Raises:
            Exception: The database is away.
        """
        handled = await route_pending(self._db, self._policy, self._just_routed, at_rest=self._at_rest)
        self._at_rest = not handled
        return handled

    async def _lane(self, turns: _Turns, wake: Wake, what: What, work: Callable[[], Awaitable[int]]) -> None:
        delay = _FIRST_DELAY_SECONDS
        while True:
            try:
                handled = await _whole(work)
            except Exception as error:
                if not isinstance(error, DBAPIError) and not is_unavailable(error):
                    raise
                reason = unavailable_reason(error)
                turns.of(what, reason)
                self._tell(reason)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LONGEST_DELAY_SECONDS)
                continue
            delay = _FIRST_DELAY_SECONDS
            turns.of(what, None)
            if not handled:
                await wake.wait(what, self._policy.poll_seconds)

    def _tell(self, reason: str) -> None:
        now = time.monotonic()
        if now >= self._next_line:
            self._next_line = now + _SECONDS_BETWEEN_LINES
            _log.warning("event ingress waits: %s", reason, extra={"event": "ingress_waits"})


class _Turns:
    """The loop has turned when each of its lanes has: one that hangs is not hidden by the other one."""

    def __init__(self, progress: LoopProgress) -> None:
        self._progress = progress
        self._troubles: dict[What, str | None] = {}

    def of(self, lane: What, trouble: str | None) -> None:
        """A lane has turned; `trouble` is why it could not do its work."""
        self._troubles[lane] = trouble
        if len(self._troubles) < len(get_args(What)):
            return
        troubles = sorted({found for found in self._troubles.values() if found is not None})
        self._troubles.clear()
        if troubles:
            self._progress.degraded("; ".join(troubles))
        else:
            self._progress.mark()


async def _whole(work: Callable[[], Awaitable[int]]) -> int:
    """A pass that a cancel does not cut: what was claimed is finished."""
    task = asyncio.ensure_future(work())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(Exception):
            await task
        raise
