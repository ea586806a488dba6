"""What a firing does: the day filter, then a launch through the one launcher, under a run id that it has for ever."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from workflows_core.errors import Refused
from workflows_core.launching.launcher import Launcher, LaunchRequest
from workflows_core.launching.problems import SearchAttributesMissing, TemporalUnavailable
from workflows_core.schedules.days import day_filter
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import get_version
from workflows_core.storage.rows import VersionRow
from workflows_core.storage.runs import get_run
from workflows_core.storage.schedules import (
    ScheduleRow,
    change_schedule,
    get_calendar,
    get_schedule,
    record_firing,
    record_run_end,
)
from workflows_core.validation.builtin_schemas import CLOCK_TRIGGER
from workflows_core.wire.records import FINAL_RUN_STATUSES

_RUNS = uuid.UUID("c5d83a52-6a0f-5f0f-9d0c-2f3f3b6a7e11")


@dataclass(frozen=True, slots=True)
class Fired:
    """What a firing came to; `run_id` of the run that it launched."""

    outcome: Literal["launched", "skipped", "error", "gone"]
    run_id: str | None = None
    reason: str | None = None


async def fire(
    db: Database, launcher: Launcher, tenant: str, schedule_id: str, scheduled_for: datetime, launch_id: str
) -> Fired:
    """Fires a schedule for one of its times; doing it again comes to the same run.

    Args:
        db: The database, as the application role.
        launcher: Starts the run.
        tenant: Of the schedule.
        schedule_id: The schedule.
        scheduled_for: The time it fires for, to the second.
        launch_id: The Temporal workflow that wants to be told of the run's end.

    Raises:
        TemporalUnavailable: Try again.
        SearchAttributesMissing: Try again, once the namespace is set up.
    """
    async with db.tenant(tenant) as conn:
        row = await get_schedule(conn, schedule_id)
        if row is None or row.status in ("deleted", "disabled", "failed"):
            return Fired("gone", reason=None if row is None else f"the schedule is {row.status}")
        version = await get_version(conn, row.workflow_id, row.workflow_version)
        calendar = await get_calendar(conn, row.business_hours_schedule_id)
    if _was_replaced(row, version, scheduled_for):
        return Fired(
            "gone", reason=f"version {row.workflow_version} has replaced the schedule: it fires at {row.run_at}"
        )
    key = fire_key(schedule_id, scheduled_for)
    run_id = str(uuid.uuid5(_RUNS, f"{tenant}\x1f{key}"))
    if row.cron is not None:
        try:
            if not day_filter(row.day_type_filter, calendar).admits(scheduled_for):
                reason = f"no {row.day_type_filter.replace('_', '-')} day"
                return await _recorded(db, row, scheduled_for, Fired("skipped", reason=reason))
        except Refused as error:
            async with db.tenant(tenant) as conn:
                await change_schedule(conn, row.id, enabled=False, status="failed", error=error.message, read=row)
            return await _recorded(db, row, scheduled_for, Fired("error", reason=error.message))
    request = LaunchRequest(
        tenant=tenant,
        workflow=row.workflow_id,
        version=row.workflow_version,
        payload=payload_of(row, version, scheduled_for, datetime.now(UTC)),
        run_id=run_id,
        trigger_type=row.trigger_type,
        trigger_fire_key=key,
        trigger_metadata={
            "scheduleId": row.id,
            "scheduledFor": scheduled_for.isoformat(),
            "scheduledLaunchId": launch_id,
        },
        execution_key=key,
    )
    try:
        await launcher.launch(request)
    except (TemporalUnavailable, SearchAttributesMissing):
        raise
    except Refused as error:
        return await _recorded(db, row, scheduled_for, Fired("error", reason=f"{error.code}: {error.sentence}"))
    return await _recorded(db, row, scheduled_for, Fired("launched", run_id))


async def run_ended(db: Database, tenant: str, schedule_id: str, scheduled_for: datetime, run_id: str) -> str | None:
    """The final status of a run that a firing launched, recorded with the schedule; None while it is open."""
    async with db.tenant(tenant) as conn:
        run = await get_run(conn, run_id)
        if run is None or run.status not in FINAL_RUN_STATUSES:
            return None
        await record_run_end(conn, schedule_id, fire_key(schedule_id, scheduled_for), run.status)
    return run.status


def fire_key(schedule_id: str, scheduled_for: datetime) -> str:
    """At most one run of the tenant has it."""
    return f"workflow-schedule-fire:{schedule_id}:{scheduled_for.astimezone(UTC).isoformat()}"


def payload_of(row: ScheduleRow, version: VersionRow | None, scheduled_for: datetime, now: datetime) -> Any:
    """The schedule's payload; without one the clock's, for a workflow that takes it, else `{}`."""
    if row.payload_json is not None:
        return row.payload_json
    if version is None or version.definition.get("payloadSchemaRef") != CLOCK_TRIGGER:
        return {}
    return {
        "triggerType": row.trigger_type,
        "scheduleId": row.id,
        "scheduledFor": scheduled_for.isoformat(),
        "firedAt": now.isoformat(),
        "timezone": row.timezone,
        "workflowId": row.workflow_id,
        "workflowVersion": row.workflow_version,
        **({} if row.cron is None else {"cron": row.cron}),
    }


async def _recorded(db: Database, row: ScheduleRow, at: datetime, fired: Fired) -> Fired:
    async with db.tenant(row.tenant) as conn:
        await record_firing(conn, row, at, fire_key(row.id, at), fired.outcome, fired.reason)
    return fired


def _was_replaced(row: ScheduleRow, version: VersionRow | None, scheduled_for: datetime) -> bool:
    """Whether this is a late firing of what the schedule was before a version gave it the one time that it has now.

    A firing by hand is of another time than the schedule's as well, and comes after that version; one in the second of
    its publishing is taken for a late one, which loses less than taking a late one for it. A recurring schedule
    always goes on with the newest version, so a firing that was on its way when that was published is not lost.
    """
    if row.origin != "trigger" or row.moment is None or version is None:
        return False
    return scheduled_for != row.moment and scheduled_for < version.published_at
