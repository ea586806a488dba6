"""Schedules for one time on real Temporal: each fires or says why it did not, also late, also replaced."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import pytest
from temporalio.client import Client, ScheduleActionExecutionStartWorkflow

from harness.authored import authored_runtime
from harness.run_records import TENANT, rows
from harness.scheduled import ONCE, created, following, published, row_of, until
from workflows_core.errors import Refused
from workflows_core.launching.launcher import Launcher, LaunchRequest
from workflows_core.launching.request import LaunchedRun
from workflows_core.schedules import managing, temporal
from workflows_core.schedules.firing import fire
from workflows_core.schedules.managing import ScheduleRequest
from workflows_core.schedules.temporal import CATCH_UP, ScheduleSync, temporal_schedule
from workflows_core.storage.database import Database
from workflows_core.storage.schedules import mark_synced

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def past(db: Database, schedule_id: str, ago: timedelta) -> datetime:
    """As if the schedule had been created a while before its time, which is that long ago."""
    at = datetime.now(UTC) - ago
    async with db.tenant(TENANT) as conn:
        await conn.exec_driver_sql("UPDATE tenant_workflow_schedule SET run_at = %s WHERE id = %s", (at, schedule_id))
    return at.replace(microsecond=0)


@pytest.mark.parametrize("there", ["not yet", "after a crash", "in time"])
async def test_a_time_that_passed_before_temporal_had_it_fires_late_and_once(
    db: Database, client: Client, there: str
) -> None:
    await published(db)
    async with following(db, client) as (_, sync):
        row = await created(db, ONCE)
        at = await past(db, row.id, timedelta(seconds=90))
        handle = client.get_schedule_handle(row.runner_schedule_id)
        if there != "not yet":
            # What is there when the process died between its write and what makes up for the time.
            await client.create_schedule(row.runner_schedule_id, temporal_schedule(await row_of(db, row.id)))
        if there == "in time":
            async with db.tenant(TENANT) as conn:
                await mark_synced(conn, row)
        await sync.one_pass(everything=there == "in time")
        fired = await until(db, row.id, "SUCCEEDED")
        assert (fired.status, fired.last_fire_at) == ("completed", at)
        async with db.tenant(TENANT) as conn:
            await conn.exec_driver_sql(
                "UPDATE tenant_workflow_schedule SET status = 'scheduled', enabled = true, synced_revision = 0"
            )
        for everything in (False, True):
            await sync.one_pass(everything=everything)
        assert (await handle.describe()).info.num_actions == 1, "Temporal knows that it has started it"
        (run,) = await rows(db, "workflow_runs")
        assert run["trigger_fire_key"] == fired.last_fire_key


@pytest.mark.parametrize("everything", [False, True])
async def test_a_time_that_passed_too_long_ago_is_a_failure_that_says_so(
    db: Database, client: Client, everything: bool
) -> None:
    await published(db)
    async with following(db, client) as (_, sync):
        row = await created(db, ONCE)
        if everything:
            await sync.one_pass()
        await past(db, row.id, CATCH_UP + timedelta(seconds=5))
        for _ in range(2):
            await sync.one_pass(everything=everything)
        failed = await row_of(db, row.id)
        assert (failed.status, failed.enabled, failed.synced_revision) == ("failed", False, failed.revision)
        assert "passed before Temporal had it" in str(failed.last_error)
        described = await client.get_schedule_handle(row.runner_schedule_id).describe()
        assert (described.schedule.state.paused, described.info.num_actions) == (True, 0)
        with pytest.raises(Refused, match=r"SCHEDULE_TIME_PASSED.*create another one"):
            async with db.tenant(TENANT) as conn:
                await managing.resume_schedule(conn, row.id)
        assert await rows(db, "workflow_runs") == []


@pytest.mark.parametrize("ahead", [timedelta(minutes=10), 2 * CATCH_UP], ids=["by-little", "by-much"])
async def test_a_time_to_come_by_temporals_clock_is_left_to_it_where_a_process_s_is_ahead(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    """It fired early by as much as the clocks differed, and by more than an hour it was failed, before its time."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + ahead

    await published(db)
    async with following(db, client) as (_, sync):
        soon = datetime.now(UTC) + timedelta(minutes=5)
        row = await created(db, ScheduleRequest("soon", run_at=soon.isoformat()))
        monkeypatch.setattr(temporal, "datetime", Clock)
        for everything in (False, True):
            await sync.one_pass(everything=everything)
        assert (await row_of(db, row.id)).status == "scheduled"
        info = (await client.get_schedule_handle(row.runner_schedule_id).describe()).info
        assert (info.num_actions, info.next_action_times) == (0, [soon.replace(microsecond=0)])


async def test_a_schedule_for_one_time_is_paused_and_resumed_before_it(db: Database, client: Client) -> None:
    await published(db)
    async with following(db, client) as (_, sync):
        row = await created(db, ONCE)
        handle = client.get_schedule_handle(row.runner_schedule_id)
        for change, paused in ((managing.pause_schedule, True), (managing.resume_schedule, False)):
            async with db.tenant(TENANT) as conn:
                await change(conn, row.id)
            assert await sync.one_pass() == 1
            state = (await handle.describe()).schedule.state
            assert (state.paused, state.limited_actions, state.remaining_actions) == (paused, True, 1)


async def test_a_firing_by_hand_leaves_the_one_time_to_come(db: Database, client: Client) -> None:
    await published(db)
    async with following(db, client) as (_, sync):
        at = (datetime.now(UTC) + timedelta(seconds=9)).replace(microsecond=0)
        row = await created(db, ScheduleRequest("soon", run_at=at.isoformat()))
        await sync.one_pass()
        await client.get_schedule_handle(row.runner_schedule_id).trigger()
        by_hand = await until(db, row.id, "SUCCEEDED")
        assert (by_hand.status, by_hand.enabled) == ("scheduled", True)
        while (fired := await row_of(db, row.id)).last_fire_key == by_hand.last_fire_key:
            await asyncio.sleep(0.05)
        assert (fired.status, fired.enabled, fired.last_fire_at) == ("completed", False, at)
        keys = {run["trigger_fire_key"] for run in await rows(db, "workflow_runs")}
        assert keys == {by_hand.last_fire_key, fired.last_fire_key}


async def test_one_that_was_fired_by_hand_is_paused_and_a_firing_by_hand_after_its_time_completes_it(
    db: Database, client: Client
) -> None:
    await published(db)
    async with following(db, client) as (_, sync):
        row = await created(db, ONCE)
        await sync.one_pass()
        handle = client.get_schedule_handle(row.runner_schedule_id)
        await handle.trigger()
        by_hand = await until(db, row.id, "SUCCEEDED")
        async with db.tenant(TENANT) as conn:
            await managing.pause_schedule(conn, row.id)
        assert await sync.one_pass() == 1
        assert (await handle.describe()).schedule.state.paused
        await past(db, row.id, timedelta())
        # Two firings by hand for the same second are one.
        await asyncio.sleep(1)
        await handle.trigger()
        while (fired := await row_of(db, row.id)).last_fire_key == by_hand.last_fire_key:
            await asyncio.sleep(0.05)
        assert (fired.status, fired.enabled) == ("completed", False)


def once(at: str) -> dict[str, str]:
    return {"type": "schedule", "runAt": at}


async def test_a_late_firing_of_a_schedule_that_was_replaced_launches_nothing(db: Database, client: Client) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=4)).isoformat(timespec="seconds")
    await published(db, trigger=once(soon))
    sync = ScheduleSync(db, client)
    await sync.one_pass()
    (row,) = await rows(db, "tenant_workflow_schedule")
    handle = client.get_schedule_handle(row["runner_schedule_id"])
    while not (recent := (await handle.describe()).info.recent_actions):
        await asyncio.sleep(0.1)
    await published(db, trigger=once("2099-01-01T00:00:00Z"))
    async with following(db, client):
        await sync.one_pass()
        started = recent[0].action
        assert isinstance(started, ScheduleActionExecutionStartWorkflow)
        late = client.get_workflow_handle(started.workflow_id, first_execution_run_id=started.first_execution_run_id)
        result = await asyncio.wait_for(late.result(), 20)
        assert (result["outcome"], "version 2 has replaced" in result["reason"]) == ("gone", True)
        assert await rows(db, "workflow_runs") == []
        kept = await row_of(db, row["id"])
        assert (kept.status, kept.enabled, kept.last_fire_at) == ("scheduled", True, None)
        # A firing by hand is for a whole second, which is not to be the one in which the version was published.
        await asyncio.sleep(1)
        await handle.trigger()
        assert (await until(db, row["id"], "SUCCEEDED")).status == "scheduled", "by hand it fires"


class Overtaken(Launcher):
    """Launches, and meanwhile another version with another time is published."""

    def __init__(self, db: Database, client: Client) -> None:
        super().__init__(db, client)
        self.database = db

    async def launch(self, request: LaunchRequest) -> LaunchedRun:
        """As ever."""
        launched = await super().launch(request)
        await published(self.database, trigger=once("2099-01-01T00:00:00Z"))
        return launched


async def test_a_firing_does_not_complete_a_schedule_that_is_replaced_meanwhile(db: Database, client: Client) -> None:
    await published(db, trigger=once("2098-01-01T00:00:00Z"))
    (row,) = await rows(db, "tenant_workflow_schedule")
    async with authored_runtime(db, client):
        at = datetime(2098, 1, 1, tzinfo=UTC)
        fired = await fire(db, Overtaken(db, client), TENANT, row["id"], at, "x")
        assert fired.outcome == "launched"
        kept = await row_of(db, row["id"])
        assert (kept.status, kept.enabled, kept.last_fire_at) == ("scheduled", True, at)
        again = datetime(2099, 1, 1, tzinfo=UTC)
        assert (await fire(db, Launcher(db, client), TENANT, row["id"], again, "y")).outcome == "launched"
        assert (await row_of(db, row["id"])).status == "completed"
