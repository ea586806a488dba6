"""What a supervised loop tells about itself, and how it is asked to stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from service_host.events import LOOP_DEGRADED, LOOP_RUNNING
from service_host.logs import log_event


class LoopState(StrEnum):
    """State of a named loop."""

    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    STOPPED = "stopped"


class StopStage(IntEnum):
    """In which order loops stop: each stage has stopped before the next is asked to."""

    CLAIM = 1
    """Loops that take on new work from outside, such as event ingress: they finish what they have."""
    WORK = 2
    """Temporal workers: running activities get their grace."""
    RECORD = 3
    """Loops that write down what the others did, such as heartbeats."""
    SERVE = 4
    """The health endpoint: it answers `draining` until the very end."""


@dataclass(frozen=True, slots=True)
class RestartBudget:
    """How often a loop that ended by itself is started again.

    Attributes:
        restarts: At most this many within the window; None for no limit.
        within_seconds: Length of the sliding window.
        first_delay_seconds: Pause before the first restart; it doubles from there on.
        longest_delay_seconds: Upper bound of the pause.
    """

    restarts: int | None = 3
    within_seconds: float = 300.0
    first_delay_seconds: float = 1.0
    longest_delay_seconds: float = 30.0


class Progress:
    """Handed to a loop's body, which calls `mark` or `degraded` on every turn.

    A loop that does neither for `Loop.turns_within` seconds is taken for hung.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = LoopState.STARTING
        self.detail = "starting"
        self.restarts = 0
        self.last_turn = time.monotonic()
        self.last_progress: float | None = None
        self._stopping = asyncio.Event()

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the loop should finish what it has and return."""
        return self._stopping

    def mark(self, detail: str = "") -> None:
        """The loop turned and is well: it did its work, or found nothing to do."""
        self.last_turn = self.last_progress = time.monotonic()
        recovered = self.state is not LoopState.RUNNING
        self.state, self.detail = LoopState.RUNNING, detail
        if recovered:
            log_event(LOOP_RUNNING, f"loop {self.name} is running", loop=self.name)

    def degraded(self, reason: str) -> None:
        """The loop turned but cannot do its work at the moment; it tries on."""
        self.last_turn = time.monotonic()
        news = self.state is not LoopState.DEGRADED or reason != self.detail
        self.state, self.detail = LoopState.DEGRADED, reason
        if news:
            log_event(LOOP_DEGRADED, f"loop {self.name} is degraded: {reason}", level="WARNING", loop=self.name)

    def waiting(self, reason: str) -> None:
        """The loop turned and waits for something it needs before it can run at all."""
        self.last_turn = time.monotonic()
        self.detail = reason

    async def pause(self, seconds: float) -> bool:
        """Sleep, but wake at once when asked to stop; True means: stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Loop:
    """A named loop of the process.

    Attributes:
        name: Shown in health, metrics and logs.
        run: The body. It returns only after `Progress.stopping` was set; ending earlier counts as a death.
        stage: When it stops in the drain.
        restarts: Its restart budget; when spent, the process drains and exits non-zero.
        stop_within: Seconds the body has to return once asked to stop; then it is cancelled. 0 cancels at once.
        turns_within: Seconds in which the body must call `mark` or `degraded`; None for a body that has no turns.
    """

    name: str
    run: Callable[[Progress], Awaitable[None]]
    stage: StopStage = StopStage.CLAIM
    restarts: RestartBudget = field(default_factory=RestartBudget)
    stop_within: float = 0.0
    turns_within: float | None = None


@dataclass(frozen=True, slots=True)
class LoopReport:
    """A loop as health and metrics show it; times are seconds.

    Attributes:
        turns: False if the loop has not turned for longer than it may.
        since_progress: Seconds since the last progress; None if there was none.
    """

    name: str
    state: LoopState
    detail: str
    restarts: int
    turns: bool
    since_progress: float | None

    @property
    def healthy(self) -> bool:
        """Running and turning."""
        return self.turns and self.state is LoopState.RUNNING
