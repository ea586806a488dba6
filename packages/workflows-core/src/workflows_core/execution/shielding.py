"""Work that a cancel does not cut."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio import workflow


async def shielded(task: asyncio.Task[Any]) -> None:
    """Waits for a task's end; a cancel that comes after the run's end was decided changes nothing."""
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if workflow.cancellation_reason() is None:
                raise
    task.result()
