"""Heartbeats: which processes live, what they poll, what they can execute. No tenant data; any connection will do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.storage.rows import ProcessRow
from workflows_core.storage.tables import as_json, processes

LIVE_FOR = timedelta(seconds=45)
"""A process that has been silent for longer counts as dead."""

_FORGOTTEN_AFTER = timedelta(days=1)


async def beat(
    conn: AsyncConnection,
    *,
    identity: str,
    service: str,
    version: str,
    queues: Sequence[str],
    actions: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Says that a process lives; rows of processes that died a day ago are removed.

    Args:
        conn: Where.
        identity: `<service>@<host>:<pid>`.
        service: Name of the service.
        version: Its version.
        queues: Task queues that it polls.
        actions: What it can execute: id, version, place of each.
    """
    facts = {
        "service": service,
        "version": version,
        "queues": list(queues),
        "actions": as_json([dict(action) for action in actions]),
    }
    now = func.clock_timestamp()
    await conn.execute(
        insert(processes)
        .values(identity=identity, started_at=now, seen_at=now, **facts)
        .on_conflict_do_update(index_elements=["identity"], set_={**facts, "seen_at": now})
    )
    await conn.execute(delete(processes).where(processes.c.seen_at < now - _FORGOTTEN_AFTER))


async def leave(conn: AsyncConnection, identity: str) -> None:
    """Removes the row of a process that ends in good order."""
    await conn.execute(delete(processes).where(processes.c.identity == identity))


async def live_processes(conn: AsyncConnection, older_than: timedelta = LIVE_FOR) -> list[ProcessRow]:
    """Processes by identity, but for those whose last heartbeat is older than that, by the database's clock."""
    rows = await conn.execute(
        select(processes)
        .where(processes.c.seen_at >= func.clock_timestamp() - older_than)
        .order_by(processes.c.identity)
    )
    return [ProcessRow.of(row) for row in rows]
