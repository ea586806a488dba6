"""The heartbeat of a process: its announcement first, then a sign of life every few seconds."""

from __future__ import annotations

from typing import Protocol

from workflows_core.progress import LoopProgress
from workflows_core.storage.database import Database, may_pass, unavailable_reason
from workflows_core.storage.processes import Announcement, announce, beat, leave

BEAT_SECONDS = 15.0
"""Three of these without a sign of life, and the process counts as gone (`LIVE_FOR`)."""

LEAVE_SECONDS = 3.0
"""How long saying that the process is gone may take."""


class BeatProgress(LoopProgress, Protocol):
    """What the loop tells its supervisor."""

    async def pause(self, seconds: float) -> bool:
        """Waits; True at once when the process is to stop."""
        ...


async def keep_announced(db: Database, announcement: Announcement, progress: BeatProgress) -> None:
    """Runs until told to stop, then says that the process is gone; a database that is away or refuses degrades it."""
    announced = False
    while True:
        try:
            async with db.narrow() as conn:
                if not announced or not await beat(conn, announcement.identity):
                    await announce(conn, announcement)
        except Exception as error:
            if not may_pass(error):
                raise
            progress.degraded(unavailable_reason(error))
        else:
            announced = True
            progress.mark()
        if await progress.pause(BEAT_SECONDS):
            break
    try:
        async with db.narrow() as conn:
            await leave(conn, announcement.identity)
    except Exception as error:
        # Others see it gone a little later, by its silence.
        if not may_pass(error):
            raise
