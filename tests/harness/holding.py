"""A lock that a test holds, and who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from harness.databases import MigratedDatabase


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():
            await asyncio.sleep(0.02)


@dataclass
class Held:
    """A lock that the test holds, and the sessions of this database that wait for one."""

    watching: psycopg.AsyncConnection[Any]

    async def waiting(self, count: int) -> list[int]:
        """Waits until so many sessions wait; their process ids in the order in which they will get the lock."""
        pids: list[int] = []

        async def enough() -> bool:
            found = await self.watching.execute(
                "SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
                " WHERE NOT l.granted AND a.datname = current_database() ORDER BY l.waitstart"
            )
            pids[:] = [row[0] for row in await found.fetchall()]
            return len(pids) >= count

        await until(enough)
        return pids

    async def cut(self, pid: int) -> None:
        """Ends a session, and waits until it has ended."""
        await self.watching.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])

    async def time_out(self) -> None:
        """Ends the statement of the session that waits, as a time-out does."""
        (pid,) = await self.waiting(1)
        await self.watching.execute("SELECT pg_cancel_backend(%s)", [pid])

    async def interrupt(self, pid: int) -> None:
        """Ends the statement of the session that is next, as a time-out does, and waits until another one is next."""
        await self.watching.execute("SELECT pg_cancel_backend(%s)", [pid])

        async def passed_over() -> bool:
            return (await self.waiting(1))[0] != pid

        await until(passed_over)


@asynccontextmanager
async def holding(database: MigratedDatabase, statement: LiteralString, *values: Any) -> AsyncIterator[Held]:
    """A transaction that holds what the statement locks."""
    async with (
        await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as watching,
        await psycopg.AsyncConnection.connect(database.admin_url) as held,
    ):
        await held.execute(statement, values)
        yield Held(watching)
