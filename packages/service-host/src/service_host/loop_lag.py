"""Does the event loop turn? How late it is, and what it does when it stands still.

A loop that is held by computing or by a blocking call delays everything in the process. /livez answers 503 once it was
late by more than `ALIVE_SECONDS` within the last seconds; a loop that does not turn at all answers nothing, and then
the log says where it stands, from a thread of its own.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service_host.events import EVENT_LOOP_BLOCKED, EVENT_LOOP_FREE
from service_host.logs import log_event
from service_host.progress import Loop, Progress, RestartBudget, StopStage

ALIVE_SECONDS: Final = 5.0
"""A process whose loop was later than this is not alive."""

_TURN_SECONDS: Final = 0.25
_REMEMBERED_SECONDS: Final = 15.0
_FRAMES: Final = 12


class LoopLag(Collector):
    """Measures one event loop.

    Args:
        blocked_seconds: So long without a turn is told in the log, with the stack of the loop's thread.
        on_turn: Called at each measure; for what has to be done every moment.
    """

    def __init__(self, blocked_seconds: float = ALIVE_SECONDS, on_turn: Callable[[], None] | None = None) -> None:
        self._blocked_seconds = blocked_seconds
        self._on_turn = on_turn
        self._turned_at = time.monotonic()
        self._thread_id = threading.get_ident()
        self._late: deque[tuple[float, float]] = deque()

    def worst(self) -> float:
        """Seconds by which the loop was late at most, in the last seconds."""
        since = time.monotonic() - _REMEMBERED_SECONDS
        while self._late and self._late[0][0] < since:
            self._late.popleft()
        return max((late for _, late in self._late), default=0.0)

    def alive(self) -> bool:
        """Whether the loop turned in time, in the last seconds."""
        return self.worst() < ALIVE_SECONDS

    def loop(self) -> Loop:
        """As a loop of the supervisor."""
        return Loop("event-loop", self.run, StopStage.RECORD, RestartBudget(restarts=None), stop_within=0)

    async def run(self, progress: Progress) -> None:
        """Measures until cancelled."""
        self._thread_id, self._turned_at = threading.get_ident(), time.monotonic()
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(ended,), name="event-loop-watch", daemon=True)
        watcher.start()
        try:
            while not progress.stopping.is_set():
                due = time.monotonic() + _TURN_SECONDS
                await asyncio.sleep(_TURN_SECONDS)
                self._turned_at = time.monotonic()
                self._late.append((self._turned_at, max(0.0, self._turned_at - due)))
                if self._on_turn is not None:
                    self._on_turn()
                progress.mark(f"late by {self.worst():.2f} s at most")
        finally:
            ended.set()

    def collect(self) -> Iterable[Metric]:
        """One gauge."""
        yield GaugeMetricFamily(
            "service_event_loop_lag_seconds", "How late the event loop was at most, lately.", self.worst()
        )

    def _watch(self, ended: threading.Event) -> None:
        told, pause = False, self._blocked_seconds / 5
        while True:
            begun, used = time.monotonic(), time.process_time()
            if ended.wait(pause):
                return
            away, used = time.monotonic() - begun - pause, time.process_time() - used
            stands = time.monotonic() - self._turned_at - _TURN_SECONDS
            if away >= self._blocked_seconds and used < away / 10:
                told = True
                said = "it was stopped, its machine was suspended, or others had the processors"
                log_event(EVENT_LOOP_BLOCKED, f"the process has not run for {away:.1f} s: {said}", level="ERROR")
            elif stands >= self._blocked_seconds and not told:
                told = True
                log_event(
                    EVENT_LOOP_BLOCKED,
                    f"the event loop has not turned for {stands:.1f} s; it stands here: {self._place()}",
                    level="ERROR",
                )
            elif told and stands < self._blocked_seconds:
                told = False
                log_event(EVENT_LOOP_FREE, "the event loop turns again")

    def _place(self) -> str:
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - the documented way to another thread's stack
        frames = traceback.extract_stack(frame)[-_FRAMES:] if frame is not None else []
        return " > ".join(f"{found.name} ({found.filename}:{found.lineno})" for found in frames)
