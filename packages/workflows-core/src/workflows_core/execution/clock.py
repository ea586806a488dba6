"""The workflow's time, which a replay repeats."""

from __future__ import annotations

from temporalio import workflow


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return workflow.time_ns() // 1_000_000


def start_ms() -> int:
    """When the execution was started, by Temporal's clock: milliseconds since the epoch."""
    return int(workflow.info().workflow_start_time.timestamp() * 1000)
