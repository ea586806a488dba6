"""Keeps one workflow task small: after so much local work a regular activity ends it.

A task that runs long lets signals, queries and cancels wait and is done again from its start when its
worker dies. A timer would end it as well, but takes about a second on a quiet server.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_STEPS_AT_ONCE = 50
"""Steps between two looks at what must be written: a long loop of control steps is many workflow tasks, not one."""

MAX_CALLS = 10
MAX_RESULT_BYTES = 256 * 1024
MAX_ELAPSED_MS = 500
MAX_EFFORT = 64
"""What expressions may cost (`interpreter.effort`): with the costliest step behind it a task still ends in time."""

MAX_SIGNALS = 20
"""With more signals than this since the last regular activity, short actions run as regular ones."""


@dataclass(slots=True)
class TaskBudget:
    """Local work since the last regular activity ended. All inputs come from history, so replay agrees."""

    calls: int = 0
    result_bytes: int = 0
    elapsed_ms: int = 0
    signals: int = 0
    effort: int = 0

    @property
    def exhausted(self) -> bool:
        """True when a regular activity must come before the next local one."""
        return self.calls >= MAX_CALLS or self.result_bytes >= MAX_RESULT_BYTES or self.elapsed_ms >= MAX_ELAPSED_MS

    @property
    def takes_another(self) -> bool:
        """True when a second call may follow the next one."""
        return self.calls + 1 < MAX_CALLS

    @property
    def effort_left(self) -> int:
        """What expressions may still cost before a regular activity must come."""
        return max(0, MAX_EFFORT - self.effort)

    @property
    def flooded(self) -> bool:
        """True while signals pile up."""
        return self.signals > MAX_SIGNALS

    def spend(self, result_bytes: int, elapsed_ms: int) -> None:
        """A short action was called, or the answer to a call taken that was found ahead."""
        self.calls += 1
        self.result_bytes += result_bytes
        self.elapsed_ms += elapsed_ms

    def renew(self) -> None:
        """A regular activity ended, so a new workflow task has begun."""
        self.calls = self.result_bytes = self.elapsed_ms = self.signals = self.effort = 0
