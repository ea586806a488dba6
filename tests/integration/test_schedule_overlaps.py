"""Firings that end the run of the one before, on real Temporal: whatever the launch is about when the cancel comes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleHandle,
    ScheduleOverlapPolicy,
    ScheduleUpdate,
    ScheduleUpdateInput,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import CancelledError

from harness.interpreted import wait
from harness.last_actions import cancel_heard
from harness.run_records import TENANT, rows
from harness.scheduled import (
    HOURLY,
    begun,
    created,
    events_until,
    fired,
    following,
    held_up,
    published,
    row_of,
    told_while_it_looks,
    until,
)
from workflows_core.execution import scheduled_launch
from workflows_core.schedules import managing
from workflows_core.storage.database import Database
from workflows_core.storage.schedules import change_schedule
from workflows_core.wire import names

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def statuses(db: Database) -> dict[str, str]:
    """Of the runs, by the keys of their firings."""
    return {run["trigger_fire_key"]: run["status"] for run in await rows(db, "workflow_runs")}


async def next_second(db: Database, schedule_id: str) -> None:
    """A firing by hand is for a whole second, and two for the same one are one firing."""
    last = (await row_of(db, schedule_id)).last_fire_at
    while last is not None and datetime.now(UTC) < last + timedelta(seconds=1):
        await asyncio.sleep(0.05)


def terminates(found: ScheduleUpdateInput) -> ScheduleUpdate:
    """The policy that a build before gave it."""
    schedule = found.description.schedule
    schedule.policy.overlap = ScheduleOverlapPolicy.TERMINATE_OTHER
    return ScheduleUpdate(schedule=schedule)


@pytest.mark.parametrize("stored", ["cancel_other", "terminate_other"])
async def test_a_firing_cancels_the_run_of_the_one_before(db: Database, client: Client, stored: str) -> None:
    """`terminate_other` was offered once, and left the earlier run as it was."""
    await published(db, wait("PAID", "'k'"))
    async with following(db, client) as (_, sync):
        row = await created(db, replace(HOURLY, overlap="cancel_other"))
        await sync.one_pass()
        handle = client.get_schedule_handle(row.runner_schedule_id)
        if stored == "terminate_other":
            async with db.tenant(TENANT) as conn:
                await conn.exec_driver_sql("UPDATE tenant_workflow_schedule SET overlap_policy = 'terminate_other'")
            await handle.update(terminates)
            assert [await sync.one_pass(everything=True) for _ in range(2)] == [1, 0]
        await handle.trigger()
        first = (await until(db, row.id, "launched")).last_fire_key
        await next_second(db, row.id)
        await handle.trigger()
        while len(found := await statuses(db)) < 2 or found[str(first)] != "CANCELED":
            await asyncio.sleep(0.05)
        second = next(key for key in found if key != first)
        while (await row_of(db, row.id)).last_fire_key != second:
            await asyncio.sleep(0.05)
        while (await statuses(db))[second] != "WAITING":
            await asyncio.sleep(0.05)


async def test_two_by_hand_within_one_second_are_one_firing_that_goes_on(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one cancelled the run of the first, and started none, since that second had its run."""
    # On a busy machine the second one may come later.
    monkeypatch.setattr(managing, "_SECOND", timedelta(minutes=1))
    await published(db, wait("PAID", "'k'"))
    async with following(db, client) as (_, sync):
        row = await created(db, replace(HOURLY, overlap="cancel_other"))
        await sync.one_pass()
        schedule = client.get_schedule_handle(row.runner_schedule_id)

        async def trigger() -> None:
            async with db.tenant(TENANT) as conn:
                await managing.trigger_schedule(conn, client, row)

        await asyncio.sleep(1.05 - datetime.now(UTC).microsecond / 1_000_000)
        await trigger()
        await launch_of(client, schedule)
        await trigger()
        while (await schedule.describe()).info.num_actions_skipped_overlap == 0:
            assert "CANCELED" not in (await statuses(db)).values()
            await asyncio.sleep(0.05)
        while list((await statuses(db)).values()) != ["WAITING"]:
            await asyncio.sleep(0.05)


async def launch_of(client: Client, schedule: ScheduleHandle) -> WorkflowHandle[Any, Any]:
    """The workflow that its firing has started and that is open."""
    while not (running := (await schedule.describe()).info.running_actions):
        await asyncio.sleep(0.05)
    assert isinstance(running[0], ScheduleActionExecutionStartWorkflow)
    return client.get_workflow_handle(running[0].workflow_id)


@pytest.mark.parametrize(
    ("activity", "reads"),
    [
        (names.ACTIVITY_FIRE_SCHEDULE, "tenant_workflow_schedule"),
        (names.ACTIVITY_WATCH_SCHEDULED_RUN, "workflow_runs"),
    ],
)
async def test_a_cancel_reaches_the_run_also_while_the_launch_waits_for_the_database(
    db: Database, client: Client, activity: str, reads: str
) -> None:
    await published(db, wait("PAID", "'k'"))
    async with following(db, client) as (_, sync):
        row = await created(db, HOURLY)
        await sync.one_pass()
        handle = client.get_schedule_handle(row.runner_schedule_id)
        fires = activity == names.ACTIVITY_FIRE_SCHEDULE
        if not fires:
            await handle.trigger()
            await until(db, row.id, "launched")
            while "WAITING" not in (await statuses(db)).values():
                await asyncio.sleep(0.05)
        async with held_up(db, reads):
            if fires:
                await handle.trigger()
            launch = await launch_of(client, handle)
            if not fires:
                await launch.signal(names.SIGNAL_RUN_ENDED, {})
            await begun(launch, activity)
            await launch.cancel()
            await cancel_heard(launch)
        with pytest.raises(WorkflowFailureError) as ended:
            await launch.result()
        assert isinstance(ended.value.cause, CancelledError)
        while list((await statuses(db)).values()) != ["CANCELED"]:
            await asyncio.sleep(0.05)


async def test_what_a_launch_hears_while_it_looks_makes_it_look_again(db: Database, client: Client) -> None:
    await published(db, wait("PAID", "'k'"))
    async with following(db, client) as (_, sync):
        handle = await fired(db, client, sync)
        launch = await launch_of(client, handle)
        await told_while_it_looks(db, launch)
        looked = await events_until(launch, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, 3)
        assert EventType.EVENT_TYPE_TIMER_FIRED not in [event.event_type for event in looked], (
            "nobody waits for a clock"
        )
        (run,) = await rows(db, "workflow_runs")
        await client.get_workflow_handle(names.workflow_id_of(run["run_id"])).cancel()
        assert (await launch.result())["status"] == "CANCELED"


async def test_a_launch_that_looks_for_long_begins_anew_and_is_the_same_to_its_schedule(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After seven months Temporal would have ended it, and the next firing would have started a run beside that one."""
    monkeypatch.setattr(scheduled_launch, "LOOKS_OF_ONE_HISTORY", 3)
    await published(db, wait("PAID", "'k'"))
    async with following(db, client) as (_, sync):
        handle = await fired(db, client, sync)
        launch = await launch_of(client, handle)
        first = (await launch.describe()).run_id
        latest = client.get_workflow_handle(launch.id)
        (schedule,) = await rows(db, "tenant_workflow_schedule")
        # What the schedule has become meanwhile is nothing to the run that it has launched.
        async with db.tenant(TENANT) as conn:
            await change_schedule(conn, schedule["id"], enabled=False, status="failed")
        async with asyncio.timeout(30):
            while (described := await latest.describe()).run_id == first:
                await latest.signal(names.SIGNAL_RUN_ENDED, {})
                await asyncio.sleep(0.1)
        assert described.status is WorkflowExecutionStatus.RUNNING
        await handle.trigger()
        while (await handle.describe()).info.num_actions_skipped_overlap < 1:
            await asyncio.sleep(0.05)
        (run,) = await rows(db, "workflow_runs")
        await client.get_workflow_handle(names.workflow_id_of(run["run_id"])).cancel()
        result = await latest.result()
        assert (result["outcome"], result["runId"], result["status"]) == ("launched", run["run_id"], "CANCELED")
        schedule = (await rows(db, "tenant_workflow_schedule"))[0]
        assert schedule["last_run_status"] == "CANCELED"
        while (await handle.describe()).raw_description.info.running_workflows:
            await asyncio.sleep(0.05)
        async with db.tenant(TENANT) as conn:
            await change_schedule(conn, schedule["id"], enabled=True, status="scheduled")
        await handle.trigger()
        while len(await rows(db, "workflow_runs")) < 2:
            await asyncio.sleep(0.05)
