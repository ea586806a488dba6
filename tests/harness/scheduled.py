"""Schedules of one published workflow, and the process that makes Temporal follow them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from temporalio.api.enums.v1 import EventType, PendingActivityState
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, ScheduleHandle, WorkflowHandle
from temporalio.service import RPCError

from harness.authored import Authored, authored_runtime
from harness.interpreted import document
from harness.run_records import TENANT, rows
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.registry import ActionRegistry
from workflows_core.publishing.publish import PublishedVersion, import_definition, publish_definition
from workflows_core.schedules.managing import ScheduleRequest, create_schedule
from workflows_core.schedules.temporal import ScheduleSync
from workflows_core.storage.database import Database
from workflows_core.storage.schedules import ScheduleRow, get_schedule
from workflows_core.wire import names

CORE = ActionRegistry.of({"core": core_pack(HttpPolicy())})
ONCE = ScheduleRequest("once", run_at="2099-01-01T00:00:00Z")
HOURLY = ScheduleRequest("hourly", cron="0 * * * *")


async def published(db: Database, *steps: Any, **fields: Any) -> PublishedVersion:
    """Publishes the workflow `w`, a new version each time."""
    async with db.tenant(TENANT) as conn:
        await import_definition(conn, {**document(*steps), **fields}, key="w")
    return await publish_definition(db, TENANT, "w", CORE)


def warned(version: PublishedVersion) -> list[str]:
    """What publishing said of schedules."""
    return [one.code for one in version.warnings if one.code.startswith("SCHEDULE")]


async def created(db: Database, request: ScheduleRequest) -> ScheduleRow:
    """Stores a schedule of it; Temporal does not have it yet."""
    async with db.tenant(TENANT) as conn:
        return await create_schedule(conn, "w", request)


async def row_of(db: Database, schedule_id: str) -> ScheduleRow:
    """The schedule as it is now."""
    async with db.tenant(TENANT) as conn:
        row = await get_schedule(conn, schedule_id)
    assert row is not None
    return row


@asynccontextmanager
async def held_up(db: Database, table: str) -> AsyncIterator[None]:
    """Nobody else reads the table meanwhile, as if the database were slow; for less than a statement's time-out."""
    async with db.tenant(TENANT) as conn:
        await conn.exec_driver_sql(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


async def begun(launch: WorkflowHandle[Any, Any], activity: str) -> None:
    """Waits until a worker has begun this activity of the launch, which it has not ended."""
    started = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    while True:
        pending = (await launch.describe()).raw_description.pending_activities
        if any(one.activity_type.name == activity and one.state == started for one in pending):
            return
        await asyncio.sleep(0.05)


async def events_until(launch: WorkflowHandle[Any, Any], kind: EventType.ValueType, count: int) -> list[HistoryEvent]:
    """The history of the launch, once it has so many events of a kind."""
    while True:
        found = list((await launch.fetch_history()).events)
        if sum(event.event_type == kind for event in found) >= count:
            return found
        await asyncio.sleep(0.05)


async def told_while_it_looks(db: Database, launch: WorkflowHandle[Any, Any]) -> None:
    """Tells a launch of its run's end, and once more while it looks whether that is so; it is not."""
    async with held_up(db, "workflow_runs"):
        await launch.signal(names.SIGNAL_RUN_ENDED, {})
        await begun(launch, names.ACTIVITY_WATCH_SCHEDULED_RUN)
        await launch.signal(names.SIGNAL_RUN_ENDED, {})
        await events_until(launch, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED, 2)
    await events_until(launch, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, 2)


@asynccontextmanager
async def following(db: Database, client: Client) -> AsyncIterator[tuple[Authored, ScheduleSync]]:
    """The authored worker, and the sync; Temporal's schedules are gone afterwards."""
    sync = ScheduleSync(db, client)
    try:
        async with authored_runtime(db, client) as authored:
            yield authored, sync
    finally:
        for row in await rows(db, "tenant_workflow_schedule"):
            try:
                await client.get_schedule_handle(row["runner_schedule_id"]).delete()
            except RPCError:
                continue


async def until(db: Database, schedule_id: str, status: str) -> ScheduleRow:
    """Waits until the last firing came to that; the test's own time-out bounds it."""
    while (row := await row_of(db, schedule_id)).last_run_status != status:
        await asyncio.sleep(0.05)
    return row


async def fired(db: Database, client: Client, sync: ScheduleSync) -> ScheduleHandle:
    """An hourly schedule in Temporal, fired by hand; its run is launched."""
    row = await created(db, HOURLY)
    await sync.one_pass()
    handle = client.get_schedule_handle(row.runner_schedule_id)
    await handle.trigger()
    await until(db, row.id, "launched")
    return handle
