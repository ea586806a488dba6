"""Schedules on real Temporal: they fire with workflow-worker's parts alone, once per time, and follow their rows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import (
    Client,
    CreateScheduleInput,
    Interceptor,
    OutboundInterceptor,
    ScheduleBackfill,
    ScheduleHandle,
    ScheduleOverlapPolicy,
)
from temporalio.service import RPCError

from harness.interpreted import wait
from harness.run_records import TENANT, publish, rows
from harness.scheduled import HOURLY, ONCE, created, fired, following, published, row_of, until, warned
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.errors import Refused
from workflows_core.launching.launcher import Launcher, LaunchRequest
from workflows_core.launching.reconciler import Reconciler, ReconcilerPolicy
from workflows_core.schedules import managing
from workflows_core.schedules.days import read_calendars
from workflows_core.schedules.firing import fire
from workflows_core.schedules.managing import ScheduleRequest, create_schedule
from workflows_core.schedules.temporal import ScheduleSync, matching_times
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import set_operation
from workflows_core.storage.schedules import list_schedules, store_calendar
from workflows_core.wire.names import workflow_id_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
WEEK = {day: [["09:00", "17:00"]] for day in ("monday", "tuesday", "wednesday", "thursday", "friday")}


async def test_a_firing_starts_a_run_and_stays_open_until_it_ends(db: Database, client: Client) -> None:
    await published(db, wait("PAID", "'k'"))
    async with following(db, client) as (_, sync):
        row = await created(db, ONCE)
        assert await sync.one_pass() == 1
        assert await sync.one_pass() == 0
        handle = client.get_schedule_handle(row.runner_schedule_id)
        await handle.trigger()
        fired = await until(db, row.id, "launched")
        assert (fired.status, fired.enabled) == ("scheduled", True)
        (run,) = await rows(db, "workflow_runs")
        assert (run["trigger_type"], run["trigger_fire_key"]) == ("schedule", fired.last_fire_key)
        launch = client.get_workflow_handle(run["trigger_metadata_json"]["scheduledLaunchId"])
        described = await launch.describe()
        assert (described.task_queue, described.status is not None and described.status.name) == (
            "workflow-runtime-v2",
            "RUNNING",
        )
        await client.get_workflow_handle(workflow_id_of(run["run_id"])).cancel()
        result = await asyncio.wait_for(launch.result(), 20)
        assert (result["outcome"], result["status"]) == ("launched", "CANCELED")
        assert (await row_of(db, row.id)).last_run_status == "CANCELED"


async def test_a_time_in_the_near_future_fires_by_itself(db: Database, client: Client) -> None:
    await published(db, payloadSchemaRef="payload.WorkflowClockTrigger.v1")
    async with following(db, client) as (_, sync):
        at = datetime.now(UTC) + timedelta(seconds=3)
        row = await created(db, ScheduleRequest("soon", run_at=at.isoformat(timespec="seconds")))
        await sync.one_pass()
        await until(db, row.id, "SUCCEEDED")
        (run,) = await rows(db, "workflow_runs")
        assert run["input_json"]["triggerType"] == "schedule"
        assert run["input_json"]["scheduledFor"] == at.replace(microsecond=0).isoformat()


async def test_a_time_fires_once_however_often_it_is_asked_for(db: Database, client: Client) -> None:
    await published(db)
    async with following(db, client) as (_, sync):
        row = await created(db, HOURLY)
        await sync.one_pass()
        span = ScheduleBackfill(
            datetime(2026, 3, 2, 0, 30, tzinfo=UTC),
            datetime(2026, 3, 2, 3, 30, tzinfo=UTC),
            overlap=ScheduleOverlapPolicy.BUFFER_ALL,
        )
        handle = client.get_schedule_handle(row.runner_schedule_id)
        for asked in (3, 6):
            await handle.backfill(span)
            # Each of them at once, also where the run has ended long ago and tells nobody.
            async with asyncio.timeout(40):
                while (info := (await handle.describe()).info).num_actions < asked or info.running_actions:
                    await asyncio.sleep(0.05)
        again = await fire(db, Launcher(db, client), TENANT, row.id, datetime(2026, 3, 2, 2, tzinfo=UTC), "by hand")
        runs = await rows(db, "workflow_runs")
        assert [run["status"] for run in runs] == ["SUCCEEDED"] * 3
        ended = next(run["run_id"] for run in runs if "T02:00" in run["trigger_fire_key"])
        assert (again.outcome, again.reason) == ("skipped", f"it has fired for this time: run {ended} has ended")
        assert (await row_of(db, row.id)).last_run_status == "SUCCEEDED"


async def test_an_overlap_is_skipped_while_the_last_run_is_open(db: Database, client: Client) -> None:
    await published(db, wait("PAID", "'k'"))
    async with following(db, client) as (_, sync):
        handle = await fired(db, client, sync)
        await handle.trigger()
        while (await handle.describe()).info.num_actions_skipped_overlap < 1:
            await asyncio.sleep(0.05)
        assert len(await rows(db, "workflow_runs")) == 1


@pytest.mark.parametrize("way", ["cancelled while queued", "terminated"])
async def test_a_launch_hears_at_once_of_a_run_that_others_have_ended(db: Database, client: Client, way: str) -> None:
    """It looked after a minute, and then after an hour maybe, and what came meanwhile was left out."""
    version = await published(db, wait("PAID", "'k'"), onConcurrencyLimit="wait")
    launcher = Launcher(db, client)
    async with following(db, client) as (_, sync):
        if way == "cancelled while queued":
            async with db.tenant(TENANT) as conn:
                await set_operation(conn, version.workflow_id, concurrency_limit=1)
            await launcher.launch(LaunchRequest(TENANT, "w"))
        handle = await fired(db, client, sync)
        run = next(row for row in await rows(db, "workflow_runs") if row["trigger_fire_key"] is not None)
        launch = client.get_workflow_handle(run["trigger_metadata_json"]["scheduledLaunchId"])
        if way == "terminated":
            await client.get_workflow_handle(workflow_id_of(run["run_id"])).terminate("by hand")
            await Reconciler(db, client, launcher, ReconcilerPolicy(quiet_seconds=0)).one_pass()
        else:
            assert run["status"] == "QUEUED"
            await launcher.cancel(TENANT, run["run_id"], "not needed")
        result = await asyncio.wait_for(launch.result(), 20)
        assert result["status"] == {"terminated": "FAILED"}.get(way, "CANCELED")
        assert (await handle.describe()).info.running_actions == []


async def test_hole_46_next_times_leave_out_what_the_day_filter_does(db: Database, client: Client) -> None:
    await published(db)
    (calendar,) = read_calendars({"main": {"timezone": "Europe/Berlin", "hours": WEEK, "default": True}})
    async with following(db, client) as (_, sync):
        async with db.tenant(TENANT) as conn:
            await store_calendar(conn, calendar)
        request = ScheduleRequest("weekend", cron="30 23 * * *", timezone="Europe/Berlin", days="non_business")
        row = await created(db, request)
        await sync.one_pass()
        async with db.tenant(TENANT) as conn:
            times = await managing.next_times(conn, client, row, 6)
        assert len(times) == 6
        assert all(at.weekday() >= 5 for at in times), "23:30 in Berlin is the same day in UTC"
        launcher = Launcher(db, client)
        monday = datetime(2026, 11, 30, 22, 30, tzinfo=UTC)
        assert (await fire(db, launcher, TENANT, row.id, monday, "x")).outcome == "skipped"
        assert (await row_of(db, row.id)).last_error == "no non-business day"
        async with db.tenant(TENANT) as conn:
            await store_calendar(conn, read_calendars({"main": {"timezone": "UTC", "hours": WEEK}})[0])
        assert (await fire(db, launcher, TENANT, row.id, monday, "x")).outcome == "error"
        gone = await row_of(db, row.id)
        assert (gone.status, gone.enabled) == ("failed", False)


@pytest.mark.parametrize(
    ("cron", "day", "fires"),
    [
        ("30 2 * * *", "2027-03-28", []),
        ("30 2 * * *", "2027-10-31", ["01:30"]),
        ("0 1-5 * * *", "2027-03-28", ["00:00", "01:00", "02:00", "03:00"]),
        ("0 1-5 * * *", "2027-10-31", ["00:00", "02:00", "03:00", "04:00"]),
    ],
)
async def test_a_time_that_the_clock_leaves_out_fires_not_and_one_that_it_repeats_fires_once(
    db: Database, client: Client, cron: str, day: str, fires: list[str]
) -> None:
    """In Berlin, where 02:30 is 00:30 or 01:30; the day's 01:00 in October is 23:00 of the day before."""
    await published(db)
    async with following(db, client) as (_, sync):
        row = await created(db, ScheduleRequest("by the wall", cron=cron, timezone="Europe/Berlin"))
        await sync.one_pass()
        noon = datetime.fromisoformat(f"{day}T12:00:00+00:00")
        times = await matching_times(client, row, noon - timedelta(days=1), noon)
        assert [at.strftime("%H:%M") for at in times if at.date() == noon.date()] == fires


async def test_next_times_go_beyond_a_thousand_that_the_day_filter_leaves_out(db: Database, client: Client) -> None:
    await published(db)
    day = datetime.now(UTC).date() + timedelta(days=13)
    entry = {
        "timezone": "UTC",
        "hours": {f"{day:%A}".lower(): [["09:00", "17:00"]]},
        "holidays": [str(day - timedelta(days=7))],
        "default": True,
    }
    async with following(db, client) as (_, sync):
        async with db.tenant(TENANT) as conn:
            await store_calendar(conn, read_calendars({"one": entry})[0])
        often = await created(db, ScheduleRequest("often", cron="*/5 * * * *", days="business"))
        never = await created(db, ScheduleRequest("n", cron=f"*/5 * * * {(day.isoweekday() + 1) % 7}", days="business"))
        await sync.one_pass()
        begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
        async with db.tenant(TENANT) as conn:
            times = await managing.next_times(conn, client, often, 300)
            assert times == [begins + timedelta(minutes=5 * nth, days=6 * (nth // 288)) for nth in range(300)]
            assert await managing.next_times(conn, client, never, 5) == []


async def test_pause_resume_delete_and_a_schedule_that_somebody_removed_by_hand(db: Database, client: Client) -> None:
    await published(db)
    async with following(db, client) as (_, sync):
        row = await created(db, HOURLY)
        await sync.one_pass()
        handle = client.get_schedule_handle(row.runner_schedule_id)
        for change, paused in ((managing.pause_schedule, True), (managing.resume_schedule, False)):
            async with db.tenant(TENANT) as conn:
                await change(conn, row.id)
            assert await sync.one_pass() == 1
            assert (await handle.describe()).schedule.state.paused is paused
        await handle.delete()
        assert await sync.one_pass() == 0
        assert await sync.one_pass(everything=True) == 1
        assert (await handle.describe()).schedule.spec.time_zone_name == "UTC"
        async with db.tenant(TENANT) as conn:
            await managing.delete_schedule(conn, row.id)
        assert await sync.one_pass() == 1
        assert await rows(db, "tenant_workflow_schedule") == []
        with pytest.raises(RPCError):
            await handle.describe()


async def test_hole_37_publishing_makes_moves_and_removes_the_schedule_of_a_trigger(
    db: Database, client: Client
) -> None:
    recurring = {"type": "recurring", "cron": "0 6 * * *", "timezone": "Europe/Berlin"}
    await published(db, trigger=recurring)
    async with following(db, client) as (_, sync):
        own = await created(db, ScheduleRequest("own", cron="0 * * * *", payload={"text": "x"}))
        assert await sync.one_pass() == 2
        await published(db, trigger={**recurring, "cron": "0 7 * * *"})
        async with db.tenant(TENANT) as conn:
            found = {row.origin: row for row in await list_schedules(conn)}
        assert (found["trigger"].cron, found["trigger"].workflow_version) == ("0 7 * * *", 2)
        assert found["operator"].workflow_version == 2
        assert await sync.one_pass() == 1
        async with db.tenant(TENANT) as conn:
            with pytest.raises(Refused, match="SCHEDULE_OF_TRIGGER"):
                await managing.delete_schedule(conn, found["trigger"].id)
        await published(db, payloadSchemaRef="payload.Empty.v1")
        failed = await row_of(db, own.id)
        assert (failed.status, "does not fit version 3" in str(failed.last_error)) == ("failed", True)
        assert (await row_of(db, found["trigger"].id)).status == "deleted"
        assert await sync.one_pass() == 2
        assert [row["id"] for row in await rows(db, "tenant_workflow_schedule")] == [own.id]


@pytest.mark.parametrize("cron", ["0 6 * * *", "0 7 * * *"])
async def test_publishing_leaves_a_paused_trigger_paused_and_says_so(db: Database, client: Client, cron: str) -> None:
    daily = {"type": "recurring", "cron": "0 6 * * *", "timezone": "Europe/Berlin"}
    assert warned(await published(db, trigger=daily)) == []
    async with following(db, client) as (_, sync):
        async with db.tenant(TENANT) as conn:
            (row,) = await list_schedules(conn)
            await managing.pause_schedule(conn, row.id)
        assert warned(await published(db, trigger={**daily, "cron": cron})) == ["SCHEDULE_STAYS_PAUSED"]
        await sync.one_pass()
        kept = await row_of(db, row.id)
        assert (kept.status, kept.enabled, kept.cron, kept.workflow_version) == ("paused", False, cron, 2)
        handle = client.get_schedule_handle(row.runner_schedule_id)
        assert (await handle.describe()).schedule.state.paused
        async with db.tenant(TENANT) as conn:
            await managing.resume_schedule(conn, row.id)
        assert warned(await published(db, trigger=daily)) == []
        await sync.one_pass()
        assert ((await row_of(db, row.id)).status, (await handle.describe()).schedule.state.paused) == (
            "scheduled",
            False,
        )


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "not gone yet"])
async def test_a_version_without_the_trigger_ends_its_schedule_s_pause_and_says_so(
    db: Database, client: Client, gone: bool
) -> None:
    daily = {"type": "recurring", "cron": "0 6 * * *", "timezone": "Europe/Berlin"}
    await published(db, trigger=daily)
    async with following(db, client) as (_, sync):
        async with db.tenant(TENANT) as conn:
            (row,) = await list_schedules(conn)
            await managing.pause_schedule(conn, row.id)
        assert warned(await published(db)) == ["SCHEDULE_PAUSE_ENDS"]
        if gone:
            await sync.one_pass()
        assert warned(await published(db, trigger=daily)) == []
        assert (await row_of(db, row.id)).status == "scheduled"


async def test_a_firing_that_is_refused_is_told_and_fires_again_next_time(
    db: Database, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Its row tells it until the next firing only, so that those of a night could not be made up for."""
    await published(db)
    async with following(db, client) as (authored, sync):
        row = await created(db, HOURLY)
        await sync.one_pass()
        async with db.tenant(TENANT) as conn:
            await conn.exec_driver_sql("UPDATE workflow_definitions SET is_paused = true")
        fired = await fire(db, Launcher(db, client), TENANT, row.id, datetime(2026, 1, 1, tzinfo=UTC), "x")
        assert (fired.outcome, str(fired.reason).split(":")[0]) == ("error", "WORKFLOW_PAUSED")
        assert (await row_of(db, row.id)).status == "scheduled"
        assert await publish(db, "unrelated")
        assert authored.effects.calls == []
    (line,) = [one for one in caplog.records if getattr(one, "event", None) == "schedule_fired_in_vain"]
    told = f"schedule {row.id} started no run for 2026-01-01T00:00:00+00:00: WORKFLOW_PAUSED: workflow: "
    assert line.getMessage().startswith(told)


@pytest.mark.parametrize(
    ("request_", "codes"),
    [
        (ScheduleRequest("n"), ["SCHEDULE_INVALID"]),
        (ScheduleRequest("  ", cron="0 * * * *"), ["SCHEDULE_INVALID"]),
        (ScheduleRequest("n" * 201, cron="0 * *"), ["SCHEDULE_INVALID", "TIME_TRIGGER_INVALID_CRON"]),
        (ScheduleRequest("n", run_at="2099-01-01T00:00:00Z", cron="0 * * * *"), ["SCHEDULE_INVALID"]),
        (ScheduleRequest("n", run_at="2001-01-01T00:00:00Z"), ["TIME_TRIGGER_INVALID_RUN_AT"]),
        (
            ScheduleRequest("n", cron="* * * * *", timezone="Mars/One", days="business"),
            ["TIME_TRIGGER_INVALID_CRON", "TIME_TRIGGER_INVALID_TIMEZONE", "BUSINESS_HOURS_SCHEDULE_REQUIRED"],
        ),
        (
            ScheduleRequest("n", run_at="2099-01-01T00:00:00Z", days="business"),
            ["DAY_FILTER_NOT_ALLOWED_FOR_ONE_TIME"],
        ),
        (ScheduleRequest("n", cron="0 * * * *", overlap="terminate_other"), ["SCHEDULE_INVALID"]),
        (ScheduleRequest("n", cron="0 * * * *", calendar="none"), ["BUSINESS_HOURS_OVERRIDE_NOT_FOUND"]),
        (
            ScheduleRequest("a\x00", cron="0 * * * *", timezone="", payload={"a": "\x00"}),
            ["SCHEDULE_INVALID", "TIME_TRIGGER_INVALID_TIMEZONE", "PAYLOAD_INVALID"],
        ),
        (ScheduleRequest("n", cron="0 * * * *", payload="x" * 600_000), ["PAYLOAD_INVALID"]),
    ],
)
async def test_everything_wrong_with_a_schedule_is_said_at_once(
    db: Database, request_: ScheduleRequest, codes: list[str]
) -> None:
    await published(db)
    async with db.tenant(TENANT) as conn:
        with pytest.raises(Refused) as found:
            await create_schedule(conn, "w", request_)
    assert [problem.code for problem in found.value.problems] == codes
    assert await rows(db, "tenant_workflow_schedule") == []


async def test_a_calendar_that_would_leave_no_day_out_is_refused(db: Database) -> None:
    """The schedule fired on every day, holidays too."""
    await published(db)
    async with db.tenant(TENANT) as conn:
        await store_calendar(conn, read_calendars({"main": {"timezone": "UTC", "hours": WEEK}})[0])
        with pytest.raises(Refused, match=r"SCHEDULE_INVALID at calendar.*--days business"):
            await create_schedule(conn, "w", ScheduleRequest("n", cron="0 * * * *", calendar="main"))
        row = await create_schedule(conn, "w", ScheduleRequest("n", cron="0 * * * *", calendar="main", days="business"))
    assert (row.day_type_filter, row.business_hours_schedule_id) == ("business", "main")


async def test_a_payload_that_does_not_fit_is_refused(db: Database) -> None:
    await published(db, payloadSchemaRef="payload.Empty.v1")
    with pytest.raises(Refused, match="PAYLOAD_INVALID"):
        await created(db, ScheduleRequest("n", cron="0 * * * *", payload={"x": 1}))
    assert await rows(db, "tenant_workflow_schedule") == []


async def test_one_that_temporal_refuses_is_failed_and_stops_no_other(db: Database, client: Client) -> None:
    await published(db)
    async with following(db, client) as (_, sync):
        good, bad = await created(db, HOURLY), await created(db, HOURLY)
        async with db.tenant(TENANT) as conn:
            await conn.exec_driver_sql(
                "UPDATE tenant_workflow_schedule SET timezone = 'Mars/One' WHERE id = %s", (bad.id,)
            )
        assert await sync.one_pass() == 1
        assert await sync.one_pass() == 0
        failed = await row_of(db, bad.id)
        assert (failed.status, "Temporal refused it" in str(failed.last_error)) == ("failed", True)
        assert (await row_of(db, good.id)).status == "scheduled"


class Stalls(Interceptor):
    """A process that stands still just before it writes a schedule to Temporal, until it is let go."""

    def __init__(self) -> None:
        self.reached, self.goes_on = asyncio.Event(), asyncio.Event()

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's name
        """Holds what would create a schedule."""
        stalls = self

        class Outbound(OutboundInterceptor):
            async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:  # noqa: A002
                stalls.reached.set()
                await stalls.goes_on.wait()
                return await super().create_schedule(input)

        return Outbound(next)


@pytest.mark.parametrize("change", [managing.pause_schedule, managing.delete_schedule])
async def test_a_process_that_stalls_before_its_write_does_not_leave_an_old_schedule(
    db: Database, client: Client, temporal: EmbeddedTemporal, change: Any
) -> None:
    await published(db)
    stalls = Stalls()
    slow = ScheduleSync(db, await Client.connect(temporal.address, namespace=temporal.namespace, interceptors=[stalls]))
    async with following(db, client) as (_, sync):
        row = await created(db, HOURLY)
        handle = client.get_schedule_handle(row.runner_schedule_id)
        writing = asyncio.create_task(slow.sync(TENANT, row.id))
        await stalls.reached.wait()
        async with db.tenant(TENANT) as conn:
            await change(conn, row.id)
        assert await sync.one_pass() == 1
        stalls.goes_on.set()
        await writing
        if change is managing.pause_schedule:
            assert (await handle.describe()).schedule.state.paused
            paused = await row_of(db, row.id)
            assert paused.synced_revision == paused.revision
        else:
            with pytest.raises(RPCError):
                await handle.describe()
        assert await sync.one_pass(everything=True) == 0


@dataclass
class Told:
    """What the loop has told its process."""

    written: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def mark(self, detail: str = "") -> None:
        """A pass was made."""
        self.written += [detail] if detail else []

    def degraded(self, reason: str) -> None:
        """A pass could not be made."""
        self.reasons.append(reason)


async def test_a_walk_through_everything_goes_beyond_its_first_page(db: Database, client: Client) -> None:
    await published(db)
    async with following(db, client) as (_, sync):
        sync.batch_size = 2
        made = [await created(db, HOURLY) for _ in range(5)]
        assert await sync.one_pass() == 5
        handles = [client.get_schedule_handle(row.runner_schedule_id) for row in made]
        for handle in handles:
            await handle.delete()
        assert await sync.one_pass(everything=True) == 5
        for handle in handles:
            await handle.delete()
        sync.every_seconds = 0.01
        told = Told()
        loop = asyncio.create_task(sync.run(told))
        while len(told.written) < 3:
            await asyncio.sleep(0.05)
        loop.cancel()
        assert (told.written, told.reasons) == (["2 written", "2 written", "1 written"], [])
        assert await sync.one_pass(everything=True) == 0
