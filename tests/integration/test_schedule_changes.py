"""What becomes of a schedule by publishing, by operators and by hands in Temporal, also when two come at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import Client

from harness.interpreted import document
from harness.run_records import TENANT
from harness.scheduled import HOURLY, ONCE, created, following, published, row_of, warned
from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import Refused
from workflows_core.publishing.contracts import import_schemas
from workflows_core.publishing.rebinding import rebind_schedules
from workflows_core.schedules import managing
from workflows_core.schedules.managing import ScheduleRequest
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version
from workflows_core.storage.schedules import change_schedule, list_schedules

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_publishing_tells_which_schedules_it_fails_and_resume_asks_the_newest_version(
    db: Database, client: Client
) -> None:
    """One without a payload went on, and each of its firings was refused; resumed, so did one that had failed."""
    daily = {"type": "recurring", "cron": "0 6 * * *", "timezone": "Europe/Berlin"}
    needs_id = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}
    await published(db, trigger=daily)
    async with following(db, client) as (_, sync):
        async with db.tenant(TENANT) as conn:
            await import_schemas(conn, {"payload.NeedsId.v1": needs_id, "payload.Test.v1": {}})
        bare, fits = [
            await created(db, ScheduleRequest("own", cron="0 * * * *", payload=payload))
            for payload in (None, {"id": "x"})
        ]
        version = await published(db, trigger=daily, payloadSchemaRef="payload.NeedsId.v1")
        told = [one for one in version.warnings if one.code == "SCHEDULE_PAYLOAD_INVALID"]
        async with db.tenant(TENANT) as conn:
            found = {row.id: row for row in await list_schedules(conn)}
        (own,) = [row for row in found.values() if row.origin == "trigger"]
        assert [any(one.id in told_of.message for told_of in told) for one in (bare, own, fits)] == [True, True, False]
        assert [(found[one.id].status, found[one.id].enabled) for one in (bare, own, fits)] == [
            ("failed", False),
            ("failed", False),
            ("scheduled", True),
        ]
        assert "does not fit version 2" in str(found[own.id].last_error)
        for failed in (bare, own):
            with pytest.raises(Refused, match="PAYLOAD_INVALID"):
                async with db.tenant(TENANT) as conn:
                    await managing.resume_schedule(conn, failed.id)
        await sync.one_pass()
        assert warned(await published(db, trigger=daily)) == []
        assert (await row_of(db, own.id)).status == "scheduled"
        async with db.tenant(TENANT) as conn:
            await managing.resume_schedule(conn, bare.id)
        assert (await row_of(db, bare.id)).enabled


async def test_one_that_is_made_while_a_version_is_published_starts_that(db: Database) -> None:
    """It was bound to the version of before, and stayed so."""
    first = await published(db)
    async with db.tenant(TENANT) as conn:
        version = await publish_version(conn, first.workflow_id, document())
        await rebind_schedules(conn, version, parse_definition(version.definition))
        making = asyncio.create_task(created(db, HOURLY))
        while not making.done() and not await _somebody_waits_for_a_lock(db):
            await asyncio.sleep(0.05)
    assert (await making).workflow_version == version.version == 2


@pytest.mark.parametrize("change", [managing.pause_schedule, managing.resume_schedule])
@pytest.mark.parametrize(("becomes", "code"), [("completed", "SCHEDULE_ENDED"), ("deleted", "SCHEDULE_NOT_FOUND")])
async def test_a_change_that_comes_behind_another_goes_by_what_that_made_of_it(
    db: Database, change: Any, becomes: str, code: str
) -> None:
    """One that had just fired became paused, and one that had just been deleted came back."""
    await published(db)
    row = await created(db, ONCE)
    async with db.tenant(TENANT) as conn:
        await change_schedule(conn, row.id, enabled=False, status=becomes)

        async def changed() -> None:
            async with db.tenant(TENANT) as other:
                await change(other, row.id)

        changing = asyncio.create_task(changed())
        while not await _somebody_waits_for_a_lock(db):
            await asyncio.sleep(0.05)
    with pytest.raises(Refused, match=code):
        await changing
    assert (await row_of(db, row.id)).status == becomes


async def _somebody_waits_for_a_lock(db: Database) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with db.tenant(TENANT) as conn:
        return bool((await conn.exec_driver_sql(waiting)).scalar_one())


async def test_what_does_not_fire_has_no_next_times(db: Database, client: Client) -> None:
    await published(db)
    async with following(db, client) as (_, sync):
        row = await created(db, HOURLY)
        await sync.one_pass()
        found = []
        for change in (managing.pause_schedule, managing.resume_schedule):
            async with db.tenant(TENANT) as conn:
                await change(conn, row.id)
                found.append(await managing.next_times(conn, client, await managing.required(conn, row.id), 3))
        assert [len(times) for times in found] == [0, 3]


@pytest.mark.parametrize("paused", [True, False])
async def test_one_that_somebody_paused_or_let_go_by_hand_in_temporal_follows_its_row_again(
    db: Database, client: Client, paused: bool
) -> None:
    """Paused in Temporal's own pages it fired no more, and everything here said that it fires."""
    await published(db)
    async with following(db, client) as (_, sync):
        row = await created(db, HOURLY)
        async with db.tenant(TENANT) as conn:
            await (managing.resume_schedule if paused else managing.pause_schedule)(conn, row.id)
        await sync.one_pass()
        handle = client.get_schedule_handle(row.runner_schedule_id)
        await (handle.pause() if paused else handle.unpause())
        assert await sync.one_pass(everything=True) == 1
        assert (await handle.describe()).schedule.state.paused is not paused
        assert await sync.one_pass(everything=True) == 0
