"""What the loops have in common that look for work, do it, and look again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio.service import RPCError

from workflows_core.errors import WorkflowsError
from workflows_core.progress import LoopProgress
from workflows_core.storage.database import may_pass, unavailable_reason

_Done = TypeVar("_Done")


async def repeat(
    one_pass: Callable[[], Awaitable[_Done]],
    progress: LoopProgress,
    every_seconds: float,
    *,
    told: Callable[[_Done], str],
    passing: tuple[type[WorkflowsError], ...] = (),
) -> None:
    """Passes until cancelled. One that a backing service spoils is told, and the next one comes as ever.

    Args:
        one_pass: Does what there is to do.
        progress: Told of each pass.
        every_seconds: Between two passes.
        told: What a pass has done, in words; empty for nothing.
        passing: Refusals that say a backing service is away.

    Raises:
        Exception: A pass failed for a reason of its own.
    """
    while True:
        try:
            done = await one_pass()
        except passing as error:
            progress.degraded(error.message)
        except RPCError as error:
            progress.degraded(f"Temporal does not answer: {error}")
        except Exception as error:
            if not may_pass(error):
                raise
            progress.degraded(unavailable_reason(error))
        else:
            progress.mark(told(done))
        await asyncio.sleep(every_seconds)
