"""The heartbeat of a process: its announcement first, then a sign of life every few seconds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from workflows_core.progress import LoopProgress
from workflows_core.storage.database import Database, may_pass, unavailable_reason
from workflows_core.storage.processes import (
    CLOCKS_AGREE_SECONDS,
    Announcement,
    announce,
    beat,
    clock_ahead,
    leave,
)

BEAT_SECONDS = 15.0
"""Three of these without a sign of life, and the process counts as gone (`LIVE_FOR`)."""

LEAVE_SECONDS = 3.0
"""How long saying that the process is gone may take."""

_log = logging.getLogger(__name__)


class BeatProgress(LoopProgress, Protocol):
    """What the loop tells its supervisor."""

    async def pause(self, seconds: float) -> bool:
        """Waits; True at once when the process is to stop."""
        ...


async def keep_announced(
    db: Database,
    announcement: Announcement,
    progress: BeatProgress,
    temporal_ahead: Callable[[], float | None] = lambda: None,
) -> None:
    """Runs until told to stop, then says that the process is gone; a database that is away or refuses degrades it.

    Clocks that differ are told as its detail, and once in the log; they degrade nothing.

    Args:
        db: Where.
        announcement: What the process says of itself.
        progress: Told on every beat.
        temporal_ahead: Seconds that Temporal's clock is ahead of this process's; None where that is not known.
    """
    announced, differed = False, False
    while True:
        try:
            async with db.narrow() as conn:
                if not announced or not await beat(conn, announcement.identity):
                    await announce(conn, announcement)
                ahead = await clock_ahead(conn)
        except Exception as error:
            if not may_pass(error):
                raise
            progress.degraded(unavailable_reason(error))
        else:
            announced = True
            said = _difference({"the database": ahead, "Temporal": temporal_ahead() or 0.0})
            if bool(said) != differed:
                differed = bool(said)
                _tell(said)
            progress.mark(f"degraded: {said}" if said else "")
        if await progress.pause(BEAT_SECONDS):
            break
    try:
        async with db.narrow() as conn:
            await leave(conn, announcement.identity)
    except Exception as error:
        # Others see it gone a little later, by its silence.
        if not may_pass(error):
            raise


def _difference(ahead: dict[str, float]) -> str:
    """Which clocks are not this process's, as a sentence; empty where they agree."""
    return "; ".join(
        f"the clock of {whose} is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} this process's"
        for whose, seconds in ahead.items()
        if abs(seconds) > CLOCKS_AGREE_SECONDS
    )


def _tell(difference: str) -> None:
    if difference:
        said = f"{difference}: keep the clocks of all servers together"
        _log.warning("clocks differ: %s", said, extra={"event": "clocks_differ"})
    else:
        _log.info("the clocks agree again", extra={"event": "clocks_agree"})
