"""Whether anybody executes what is started: by the heartbeats of processes, else by Temporal's list of pollers."""

from __future__ import annotations

from dataclasses import dataclass

from workflows_core.launching.ports import PollerProbe
from workflows_core.storage.database import Database, is_unavailable
from workflows_core.storage.processes import KNOWN_FOR, live_processes


@dataclass(frozen=True, slots=True)
class HeartbeatProbe:
    """Fills `PollerProbe`. A process that has died is known by its silence after 45 s; the list has it for 300 s.

    Attributes:
        db: Where the heartbeats are.
        listed: Asked where no process has ever written a heartbeat for the queue; None where nobody is to be asked.
    """

    db: Database
    listed: PollerProbe | None

    async def is_polled(self, queue: str) -> bool | None:
        """True or False; None when nobody can tell."""
        try:
            async with self.db.narrow() as conn:
                if any(queue in process.queues for process in await live_processes(conn)):
                    return True
                known = any(queue in process.queues for process in await live_processes(conn, KNOWN_FOR))
        except Exception as error:
            # The run has been started by now: a failure would ask for another one.
            if not is_unavailable(error):
                raise
            return None
        if known:
            return False
        return None if self.listed is None else await self.listed.is_polled(queue)
