"""Heartbeats of processes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from workflows_core.storage.database import Database
from workflows_core.storage.processes import Announcement, announce, beat, leave, live_processes

pytestmark = pytest.mark.asyncio
IDENTITY = "workflow-worker@host:1"
ACTIONS = [{"id": "log.write", "version": 1}]


async def heart(db: Database, identity: str = IDENTITY, version: str = "1") -> None:
    async with db.narrow() as conn:
        await announce(conn, Announcement(identity, "workflow-worker", version, ["workflow-runtime-v2"], ACTIONS))


async def age(db: Database, identity: str, interval: str) -> None:
    older = text("UPDATE workflow_processes SET seen_at = seen_at - CAST(:by AS interval) WHERE identity = :identity")
    async with db.narrow() as conn:
        await conn.execute(older, {"by": interval, "identity": identity})


async def test_a_process_that_beats_lives_and_says_what_it_does(db: Database) -> None:
    await heart(db)
    await heart(db, version="2")
    async with db.narrow() as conn:
        (process,) = await live_processes(conn)
    assert (process.identity, process.version, process.queues) == (IDENTITY, "2", ["workflow-runtime-v2"])
    assert process.actions == ACTIONS
    async with db.narrow() as conn:
        assert await beat(conn, IDENTITY)
        (later,) = await live_processes(conn)
    assert (later.seen_at > process.seen_at, later.started_at, later.actions) == (True, process.started_at, ACTIONS)


async def test_a_beat_without_a_row_says_so(db: Database) -> None:
    async with db.narrow() as conn:
        assert not await beat(conn, IDENTITY)


async def test_a_silent_process_is_dead_until_it_beats_again(db: Database) -> None:
    await heart(db)
    await age(db, IDENTITY, "46 seconds")
    async with db.narrow() as conn:
        assert await live_processes(conn) == []
        assert len(await live_processes(conn, timedelta(seconds=60))) == 1
    await heart(db)
    async with db.narrow() as conn:
        assert len(await live_processes(conn)) == 1


async def test_who_leaves_is_gone_at_once_and_its_row_after_a_day(db: Database) -> None:
    await heart(db, "a@host:1")
    await heart(db, "b@host:2")
    await age(db, "a@host:1", "25 hours")
    await heart(db, "c@host:3")
    async with db.narrow() as conn:
        await leave(conn, "b@host:2")
        kept = (await conn.execute(text("SELECT identity FROM workflow_processes ORDER BY 1"))).scalars().all()
        live = [process.identity for process in await live_processes(conn)]
    assert (kept, live) == (["b@host:2", "c@host:3"], ["c@host:3"])
