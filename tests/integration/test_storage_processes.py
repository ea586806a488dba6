"""Heartbeats of processes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from workflows_core.storage.database import Database
from workflows_core.storage.processes import beat, leave, live_processes

pytestmark = pytest.mark.asyncio
IDENTITY = "workflow-worker@host:1"


async def heart(db: Database, identity: str = IDENTITY, version: str = "1") -> None:
    async with db.narrow() as conn:
        await beat(
            conn,
            identity=identity,
            service="workflow-worker",
            version=version,
            queues=["workflow-runtime-v2"],
            actions=[{"id": "log.write", "version": 1, "place": "worker"}],
        )


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
    assert process.actions == [{"id": "log.write", "version": 1, "place": "worker"}]
    assert process.seen_at > process.started_at


async def test_a_silent_process_is_dead_until_it_beats_again(db: Database) -> None:
    await heart(db)
    await age(db, IDENTITY, "46 seconds")
    async with db.narrow() as conn:
        assert await live_processes(conn) == []
        assert len(await live_processes(conn, timedelta(seconds=60))) == 1
    await heart(db)
    async with db.narrow() as conn:
        assert len(await live_processes(conn)) == 1


async def test_rows_go_with_those_who_leave_and_with_the_long_dead(db: Database) -> None:
    await heart(db, "a@host:1")
    await heart(db, "b@host:2")
    await age(db, "a@host:1", "25 hours")
    await heart(db, "c@host:3")
    async with db.narrow() as conn:
        await leave(conn, "b@host:2")
        left = (await conn.execute(text("SELECT identity FROM workflow_processes"))).scalars().all()
    assert left == ["c@host:3"]
