"""Runs the named loops of a process side by side, restarts those that die, and drains them in order.

First signal: readiness off, then each `StopStage` in turn. Second signal: the process ends at once. A loop whose
restart budget is spent, or a start-up that fails, drains the process as well and makes the exit code non-zero.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from service_host import events
from service_host.errors import EXIT_FAILED, EXIT_REFUSED, StartRefused, Unreachable
from service_host.leaving import leave
from service_host.logs import log_event, log_failure
from service_host.progress import Loop, LoopReport, LoopState, Progress, StopStage

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_AFTER_CANCEL_SECONDS: Final = 5.0


class Supervisor:
    """Owner of a process's loops; used once.

    Args:
        service: Name for logs.
        drain_seconds: A drain that takes longer ends with a hard exit; keep it below the orchestrator's grace period.
        end_now: Ends the process at once with the given code.
    """

    def __init__(self, service: str, *, drain_seconds: float = 55.0, end_now: Callable[[int], None] = leave) -> None:
        self.service = service
        self._drain_seconds = drain_seconds
        self._end_now = end_now
        self._loops: dict[str, tuple[Loop, Progress]] = {}
        self._supervising: dict[str, asyncio.Task[None]] = {}
        self._bodies: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._stop = asyncio.Event()
        self._exit_code = 0
        self._start_detail = "starting"
        self._started = False

    @property
    def draining(self) -> bool:
        """True from the first signal on."""
        return self._stop.is_set()

    @property
    def start(self) -> tuple[bool, str]:
        """Whether start-up has finished, and what it does or waits for."""
        return self._started, self._start_detail

    def waiting(self, reason: str) -> None:
        """Say what start-up waits for; shown in the readiness matrix."""
        self._start_detail = reason

    def add(self, loop: Loop) -> Progress:
        """Register a loop; it is started with the process, or at once if the process runs already."""
        if loop.name in self._loops:
            raise ValueError(f"a loop named {loop.name!r} exists already")
        progress = Progress(loop.name)
        self._loops[loop.name] = (loop, progress)
        if self._group is not None and not self.draining:
            self._spawn(loop, progress)
        return progress

    def reports(self) -> tuple[LoopReport, ...]:
        """All loops as they are now."""
        now = time.monotonic()
        return tuple(
            LoopReport(
                name=loop.name,
                state=progress.state,
                detail=progress.detail,
                restarts=progress.restarts,
                turns=loop.turns_within is None
                or progress.state is LoopState.STOPPED
                or now - progress.last_turn <= loop.turns_within,
                since_progress=None if progress.last_progress is None else now - progress.last_progress,
            )
            for loop, progress in self._loops.values()
        )

    def request_stop(self, reason: str, exit_code: int = 0) -> None:
        """Drain and end; the first non-zero exit code wins."""
        self._exit_code = self._exit_code or exit_code
        if not self._stop.is_set():
            log_event(events.DRAIN_STARTED, f"{self.service} is stopping: {reason}", reason=reason)
            self._stop.set()

    async def run(self, start_up: Callable[[], Awaitable[None]]) -> int:
        """Run until a signal or a failure, then drain.

        Args:
            start_up: Connects what the process needs and adds the loops that need it; cancelled by a signal.

        Returns:
            The exit code: 0 after a signal, 1 after a failure, 2 if `start_up` was refused.
        """
        event_loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            event_loop.add_signal_handler(number, self._on_signal, number)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for loop, progress in list(self._loops.values()):
                    self._spawn(loop, progress)
                starting = group.create_task(self._start_up(start_up))
                await self._stop.wait()
                starting.cancel()
                await asyncio.wait({starting})
                await self._drain()
        finally:
            for number in _SIGNALS:
                event_loop.remove_signal_handler(number)
        log_event(events.PROCESS_STOPPED, f"{self.service} stopped", exit_code=self._exit_code)
        return self._exit_code

    def _on_signal(self, number: signal.Signals) -> None:
        if self.draining:
            log_event(events.PROCESS_STOPPED, f"second signal ({number.name}): ending at once", level="WARNING")
            self._end_now(128 + number)
            return
        self.request_stop(f"signal {number.name}")

    async def _start_up(self, start_up: Callable[[], Awaitable[None]]) -> None:
        try:
            await start_up()
        except StartRefused as refused:
            for problem in refused.problems:
                log_event(events.START_REFUSED, str(problem), level="ERROR", code=problem.code, where=problem.where)
            self.request_stop("the start was refused", EXIT_REFUSED)
        except Unreachable as error:
            message = f"BACKING_SERVICE_REFUSED {error}: waiting does not change that; correct the setting, or make it"
            log_event(events.START_REFUSED, message, level="ERROR", code="BACKING_SERVICE_REFUSED", where=error.service)
            self.request_stop("the start was refused", EXIT_REFUSED)
        except Exception as error:
            log_failure(events.START_REFUSED, f"{self.service} could not start: {error}", error)
            self.request_stop("start-up failed", EXIT_FAILED)
        else:
            self._started, self._start_detail = True, "started"

    def _spawn(self, loop: Loop, progress: Progress) -> None:
        assert self._group is not None
        self._supervising[loop.name] = self._group.create_task(self._supervise(loop, progress), name=loop.name)

    async def _supervise(self, loop: Loop, progress: Progress) -> None:
        deaths: deque[float] = deque()
        budget = loop.restarts
        log_event(events.LOOP_STARTED, f"loop {loop.name} started", level="DEBUG", loop=loop.name)
        while True:
            body = asyncio.ensure_future(loop.run(progress))
            self._bodies[loop.name] = body
            try:
                await asyncio.wait({body})
            except asyncio.CancelledError:
                body.cancel()
                raise
            error = None if body.cancelled() else body.exception()
            if progress.stopping.is_set():
                if error is not None:
                    log_failure(events.LOOP_FAILED, f"loop {loop.name} failed while stopping", error, loop=loop.name)
                break
            reason = repr(error) if error is not None else "it ended by itself"
            progress.degraded(reason)
            log_failure(events.LOOP_FAILED, f"loop {loop.name} died: {reason}", error or RuntimeError(reason))
            now = time.monotonic()
            deaths.append(now)
            while now - deaths[0] > budget.within_seconds:
                deaths.popleft()
            refused = isinstance(error, StartRefused)
            if refused or (budget.restarts is not None and len(deaths) > budget.restarts):
                log_event(
                    events.RESTARTS_SPENT,
                    f"loop {loop.name} is given up after {len(deaths)} deaths in {budget.within_seconds:g} s",
                    level="ERROR",
                    loop=loop.name,
                )
                self.request_stop(f"loop {loop.name} is given up", EXIT_REFUSED if refused else EXIT_FAILED)
                break
            delay = min(budget.first_delay_seconds * 2 ** (len(deaths) - 1), budget.longest_delay_seconds)
            if await progress.pause(delay):
                break
            progress.restarts += 1
            progress.last_turn = time.monotonic()
            log_event(events.LOOP_RESTARTED, f"loop {loop.name} is started again", loop=loop.name)
        progress.state, progress.detail = LoopState.STOPPED, "stopped"
        log_event(events.LOOP_STOPPED, f"loop {loop.name} stopped", level="DEBUG", loop=loop.name)

    async def _drain(self) -> None:
        # A thread, because the reason for an overdue drain may be that the event loop no longer turns.
        watchdog = threading.Timer(self._drain_seconds, self._overdue)
        watchdog.daemon = True
        watchdog.start()
        try:
            for stage in StopStage:
                waits = [
                    self._stop_loop(loop, progress) for loop, progress in self._loops.values() if loop.stage is stage
                ]
                await asyncio.gather(*waits)
        finally:
            watchdog.cancel()

    async def _stop_loop(self, loop: Loop, progress: Progress) -> None:
        progress.stopping.set()
        supervising = self._supervising.get(loop.name)
        if supervising is None:
            return
        if loop.stop_within > 0:
            await asyncio.wait({supervising}, timeout=loop.stop_within)
        cancelled_before = False
        while not supervising.done():
            body = self._bodies.get(loop.name)
            if body is not None:
                body.cancel()
            if cancelled_before:
                log_event(events.DRAIN_OVERDUE, f"loop {loop.name} does not stop", level="WARNING", loop=loop.name)
            await asyncio.wait({supervising}, timeout=_AFTER_CANCEL_SECONDS)
            cancelled_before = True

    def _overdue(self) -> None:
        log_event(
            events.DRAIN_OVERDUE, f"the drain took longer than {self._drain_seconds:g} s: ending at once", level="ERROR"
        )
        self._end_now(EXIT_FAILED)
