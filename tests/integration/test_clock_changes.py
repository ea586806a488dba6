"""Schedules in the night in which the clock is set back: a time of the clock starts one run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from temporalio.client import Client

from harness.run_records import TENANT, rows
from harness.scheduled import created, following, published, row_of
from workflows_core.launching.launcher import Launcher
from workflows_core.schedules import firing, managing
from workflows_core.schedules.firing import Fired, fire
from workflows_core.schedules.managing import ScheduleRequest
from workflows_core.schedules.temporal import matching_times
from workflows_core.storage.database import Database

pytestmark = pytest.mark.asyncio(loop_scope="session")
NIGHT = timedelta(hours=17)


def noon(zone: str, day: str) -> datetime:
    return datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def is_same_run(first: Fired, again: Fired) -> bool:
    """Whether a time that is asked for again is answered with its run, or that this one has ended meanwhile."""
    has_ended = again.outcome == "skipped" and f"run {first.run_id} has ended" in str(again.reason)
    return first.outcome == "launched" and (again == first or has_ended)


@pytest.mark.parametrize(
    ("zone", "day", "hour"),
    [
        ("Europe/Berlin", "2027-10-31", 1),
        ("Europe/Berlin", "2027-10-31", 2),
        ("Europe/London", "2027-10-31", 0),
        ("America/New_York", "2027-11-07", 1),
        ("America/Havana", "2027-11-07", 0),
        ("America/Scoresbysund", "2027-10-31", 23),
        ("Asia/Beirut", "2027-10-31", 22),
        ("Australia/Sydney", "2027-04-04", 1),
        ("Australia/Lord_Howe", "2027-04-04", 1),
        ("Pacific/Chatham", "2027-04-04", 2),
    ],
)
async def test_a_daily_schedule_starts_one_run_when_the_clock_is_set_back(
    db: Database, client: Client, zone: str, day: str, hour: int
) -> None:
    """Temporal fires twice for most of these: 01:30 in New York in both hours, 01:30 in Berlin at 02:30 too."""
    await published(db)
    launcher = Launcher(db, client)
    async with following(db, client) as (_, sync):
        for minute in (0, 15, 30):
            row = await created(db, ScheduleRequest("daily", cron=f"{minute} {hour} * * *", timezone=zone))
            await sync.one_pass()
            until = noon(zone, day)
            times = await matching_times(client, row, until - NIGHT, until)
            fired = [await fire(db, launcher, TENANT, row.id, at, "x") for at in times]
            # As when an activity is tried again: nothing new is started.
            again = [await fire(db, launcher, TENANT, row.id, at, "x") for at in times]
            runs = [run for run in await rows(db, "workflow_runs") if row.id in run["trigger_fire_key"]]
            assert len(runs) == 1
            assert [one.outcome for one in fired] == ["launched", *["skipped"] * (len(times) - 1)]
            assert is_same_run(fired[0], again[0])
            assert {one.outcome for one in again[1:]} <= {"skipped"}
            at = datetime.fromisoformat(runs[0]["trigger_metadata_json"]["scheduledFor"])
            assert at.astimezone(ZoneInfo(zone)).strftime("%H:%M") == f"{hour:02}:{minute:02}"
            assert (await row_of(db, row.id)).last_run_status in ("launched", "SUCCEEDED")
            async with db.tenant(TENANT) as conn:
                assert await managing.has_time(conn, client, row, until - NIGHT, until)
                assert not await managing.has_time(conn, client, row, at + timedelta(minutes=1), until)


@pytest.mark.parametrize("hours", ["*", "*/1", "0-23"])
async def test_every_hour_is_every_hour_that_passes(db: Database, client: Client, hours: str) -> None:
    await published(db)
    async with following(db, client) as (_, sync):
        row = await created(db, ScheduleRequest("hourly", cron=f"30 {hours} * * *", timezone="America/New_York"))
        await sync.one_pass()
        until = noon("America/New_York", "2027-11-07")
        times = await matching_times(client, row, until - NIGHT, until)
        assert len(times) == 17
        for at in times:
            assert (await fire(db, Launcher(db, client), TENANT, row.id, at, "x")).outcome == "launched"
    assert len(await rows(db, "workflow_runs")) == 17


async def test_a_time_that_fires_an_hour_late_only_is_not_lost(db: Database, client: Client) -> None:
    """Of 01:15 and 01:45 in London Temporal fires the second at 02:45, and not before."""
    await published(db)
    async with following(db, client) as (_, sync):
        row = await created(db, ScheduleRequest("twice", cron="15,45 1 * * *", timezone="Europe/London"))
        await sync.one_pass()
        until = noon("Europe/London", "2027-10-31")
        times = await matching_times(client, row, until - NIGHT, until)
        assert [at.strftime("%H:%M") for at in times] == ["01:15", "02:45"]
        for at in times:
            assert (await fire(db, Launcher(db, client), TENANT, row.id, at, "x")).outcome == "launched"


async def test_what_a_build_before_has_fired_at_the_second_hour_has_its_run(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await published(db)
    async with following(db, client) as (_, sync):
        row = await created(db, ScheduleRequest("daily", cron="30 2 * * *", timezone="Europe/Berlin"))
        await sync.one_pass()
        at = datetime(2027, 10, 31, 1, 30, tzinfo=UTC)
        with monkeypatch.context() as before:
            before.setattr(firing, "first_shown", lambda _, at: at)
            first = await fire(db, Launcher(db, client), TENANT, row.id, at, "x")
        assert is_same_run(first, await fire(db, Launcher(db, client), TENANT, row.id, at, "x"))
    assert len(await rows(db, "workflow_runs")) == 1
