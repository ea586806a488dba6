"""The workflow's time, which a replay repeats."""

from __future__ import annotations

from temporalio import workflow


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return workflow.time_ns() // 1_000_000
