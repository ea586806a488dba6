"""Heartbeats of processes."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import cast

import pytest
from sqlalchemy import make_url, text

from harness.databases import MigratedDatabase, engine_of
from service_host.progress import Progress
from workflow_worker.backlog import BacklogWatch
from workflows_cli.migrations.upgrade import create_login
from workflows_core.launching.reminders import TaskReminders
from workflows_core.storage.announcing import keep_announced
from workflows_core.storage.capabilities import announced_actions
from workflows_core.storage.database import Database
from workflows_core.storage.processes import Announcement, announce, beat, leave, live_processes

pytestmark = pytest.mark.asyncio
IDENTITY = "workflow-worker@host:1"
ACTIONS = [{"id": "log.write", "version": 1, "traits": {"place": "worker"}, "inputSchema": {}}]


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


async def test_a_process_that_died_before_the_clock_was_set_back_is_dead(db: Database) -> None:
    """It lived for as long as the clock had been set back."""
    await heart(db)
    await heart(db, "b@host:2")
    for identity in (IDENTITY, "b@host:2"):
        await age(db, identity, "-1 hour")
    async with db.narrow() as conn:
        assert await beat(conn, "b@host:2")
        assert [process.identity for process in await live_processes(conn)] == ["b@host:2"]
        found = await announced_actions(conn)
    assert [(one.identity, one.live) for one in found] == [("b@host:2", True), (IDENTITY, False)]


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


@dataclass
class Told:
    """What loops tell, until they have told so much."""

    lines: list[str] = field(default_factory=list)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    def mark(self, detail: str = "") -> None:
        self.lines.append(f"ok {detail}")

    def degraded(self, reason: str) -> None:
        self.lines.append(reason)
        self.enough.set()

    async def pause(self, _: float) -> bool:
        return self.enough.is_set()


async def test_with_the_login_of_another_service_loops_go_on_and_say_what_they_may_not(
    database: MigratedDatabase,
) -> None:
    """They died and were started again, each time with a traceback; the process ended."""
    login = f"other_{secrets.token_hex(4)}"
    create_login(database.admin_url, login, "p", "temporal-worker")
    url = make_url(database.url).set(username=login, password="p")
    async with engine_of(url.render_as_string(hide_password=False)) as engine:
        other = Database(engine)
        beats, reminds, reads = Told(), Told(), Told()
        await keep_announced(other, Announcement(IDENTITY, "workflow-worker", "1", [], []), beats)
        await BacklogWatch(other).run(cast(Progress, reads))
        reminding = asyncio.create_task(TaskReminders(other).run(reminds))
        told = asyncio.create_task(reminds.enough.wait())
        await asyncio.wait([reminding, told], return_when=asyncio.FIRST_COMPLETED)
        for task in (reminding, told):
            task.cancel()
        await asyncio.gather(reminding, told, return_exceptions=True)
    refused = "PostgreSQL refuses: permission denied for"
    assert beats.lines == [f"{refused} table workflow_processes"]
    assert reads.lines == [f"{refused} function workflow_backlog"]
    assert reminds.lines == [f"{refused} function workflow_tasks_to_remind"]
