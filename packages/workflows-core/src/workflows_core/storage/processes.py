"""Heartbeats: which processes live, what they poll, what they can execute. No tenant data; any connection will do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.storage.rows import ProcessRow
from workflows_core.storage.tables import as_json, processes

LIVE_FOR = timedelta(seconds=45)
"""A process that has been silent for longer counts as gone."""

KNOWN_FOR = timedelta(days=1)
"""A process that has been silent for longer is forgotten."""


CLOCKS_AGREE_SECONDS = 2.0
"""Two clocks that differ by less are as good as one."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a process says of itself.

    Attributes:
        identity: `<service>@<host>:<pid>`.
        service: Name of the service.
        version: Its version.
        queues: Task queues that it polls.
        actions: What it executes; see `ActionRegistry.announced`.
    """

    identity: str
    service: str
    version: str
    queues: Sequence[str]
    actions: Sequence[Mapping[str, Any]] = ()


async def announce(conn: AsyncConnection, announcement: Announcement) -> None:
    """Says that a process lives, and everything about it; rows of processes that died a day ago are removed."""
    facts = {
        "service": announcement.service,
        "version": announcement.version,
        "queues": list(announcement.queues),
        "actions": as_json([dict(action) for action in announcement.actions]),
    }
    now = func.clock_timestamp()
    await conn.execute(
        insert(processes)
        .values(identity=announcement.identity, started_at=now, seen_at=now, **facts)
        .on_conflict_do_update(index_elements=["identity"], set_={**facts, "started_at": now, "seen_at": now})
    )
    await conn.execute(delete(processes).where(processes.c.seen_at < now - KNOWN_FOR))


async def beat(conn: AsyncConnection, identity: str) -> bool:
    """Says that an announced process still lives; False when its row is gone, so that it is announced again."""
    row = update(processes).where(processes.c.identity == identity).values(seen_at=func.clock_timestamp())
    return (await conn.execute(row)).rowcount == 1


async def clock_ahead(conn: AsyncConnection) -> float:
    """Seconds that the database's clock is ahead of this process's, at least, however long the way there takes.

    Negative where it is behind, 0 where both may be the same.
    """
    before = time.time()
    at = float((await conn.execute(select(func.extract("epoch", func.clock_timestamp())))).scalar_one())
    return min(at - before, 0.0) or max(at - time.time(), 0.0)


async def leave(conn: AsyncConnection, identity: str) -> None:
    """From now on the process counts as gone; its row stays for a day and says what it had served."""
    gone = func.clock_timestamp() - LIVE_FOR
    row = update(processes).where(processes.c.identity == identity, processes.c.seen_at > gone)
    await conn.execute(row.values(seen_at=gone))


async def live_processes(conn: AsyncConnection, older_than: timedelta = LIVE_FOR) -> list[ProcessRow]:
    """Processes by identity, but for those whose last heartbeat is as old as that, by the database's clock.

    One that is as far ahead is of before that clock was set back: who has lived since has beaten since.
    """
    now = func.clock_timestamp()
    rows = await conn.execute(
        select(processes)
        .where(processes.c.seen_at > now - older_than, processes.c.seen_at < now + older_than)
        .order_by(processes.c.identity)
    )
    return [ProcessRow.of(row) for row in rows]
