"""The hint that there is something to do: LISTEN on a connection of its own. It may get lost; polling may not."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Literal

import psycopg
from sqlalchemy.ext.asyncio import AsyncEngine

CHANNEL = "workflow_events"
What = Literal["event", "delivery"]
"""What there is: an event to route, or a delivery to send."""

_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 10.0
_log = logging.getLogger(__name__)


class Wake:
    """Turns notifications into wake-ups. `listen` runs beside the loops that wait."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._conninfo = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._hints: dict[str, asyncio.Event] = {"event": asyncio.Event(), "delivery": asyncio.Event()}

    async def listen(self) -> None:
        """Listens for ever; connects again after a pause when the connection is lost."""
        delay = _FIRST_DELAY_SECONDS
        while True:
            try:
                conn = await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True, connect_timeout=2, keepalives_idle=10, keepalives_interval=5
                )
                async with conn:
                    await conn.execute(f"LISTEN {CHANNEL}")
                    delay = _FIRST_DELAY_SECONDS
                    # Whatever was published while nobody listened.
                    self.hint("")
                    async for hint in conn.notifies():
                        self.hint(hint.payload)
            except (psycopg.Error, OSError) as error:
                _log.debug("not listening for events, polling goes on: %s", error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY_SECONDS)

    async def wait(self, what: What, seconds: float) -> None:
        """Returns at the next hint, at once if there was one since the last call, or after the time."""
        try:
            async with asyncio.timeout(seconds):
                await self._hints[what].wait()
        except TimeoutError:
            return
        finally:
            self._hints[what].clear()

    def hint(self, what: str) -> None:
        """There is something to do; a hint that does not say what is for both."""
        for hint in [self._hints[what]] if what in self._hints else self._hints.values():
            hint.set()
