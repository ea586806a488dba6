"""What a firing does: the day filter, then a launch through the one launcher, under a run id that it has for ever."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Refused
from workflows_core.launching.launcher import Launcher, LaunchRequest
from workflows_core.launching.problems import SearchAttributesMissing, TemporalUnavailable
from workflows_core.publishing.rebinding import payload_of
from workflows_core.schedules.days import day_filter
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import get_version
from workflows_core.storage.rows import RunRow, VersionRow
from workflows_core.storage.runs import get_run, run_of_firing
from workflows_core.storage.schedules import (
    ScheduleRow,
    change_schedule,
    get_calendar,
    get_schedule,
    record_firing,
    record_run_end,
)
from workflows_core.validation.time_triggers import cron_names, names_every_hour
from workflows_core.wire.records import FINAL_RUN_STATUSES

_log = logging.getLogger(__name__)
_RUNS = uuid.UUID("c5d83a52-6a0f-5f0f-9d0c-2f3f3b6a7e11")
_NEAR = timedelta(hours=3)
_LATE = timedelta(hours=1)
"""So near to a moment at which the clock is set back Temporal reckons wrongly, and so late it fires there."""


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
        key, earlier = await _key_of(conn, row, scheduled_for)
    if _was_replaced(row, version, scheduled_for):
        return Fired(
            "gone", reason=f"version {row.workflow_version} has replaced the schedule: it fires at {row.run_at}"
        )
    if earlier is not None:
        return Fired("skipped", reason=f"it has fired for this time of the clock: run {earlier.run_id}")
    run_id = str(uuid.uuid5(_RUNS, f"{tenant}\x1f{key}"))
    if row.cron is not None:
        try:
            if not day_filter(row.day_type_filter, calendar).admits(scheduled_for):
                reason = f"no {row.day_type_filter.replace('_', '-')} day"
                return await _recorded(db, row, scheduled_for, key, Fired("skipped", reason=reason))
        except Refused as error:
            async with db.tenant(tenant) as conn:
                await change_schedule(conn, row.id, enabled=False, status="failed", error=error.message, read=row)
            return await _recorded(db, row, scheduled_for, key, Fired("error", reason=error.message))
    request = replace(
        launch_of(row, version, scheduled_for),
        run_id=run_id,
        trigger_fire_key=key,
        trigger_metadata={
            "scheduleId": row.id,
            "scheduledFor": scheduled_for.isoformat(),
            "scheduledLaunchId": launch_id,
        },
        execution_key=key,
    )
    try:
        launched = await launcher.launch(request)
    except (TemporalUnavailable, SearchAttributesMissing):
        raise
    except Refused as error:
        return await _recorded(db, row, scheduled_for, key, Fired("error", reason=f"{error.code}: {error.sentence}"))
    fired = await _recorded(db, row, scheduled_for, key, Fired("launched", run_id))
    if not launched.created and await run_ended(db, tenant, row.id, run_id) is not None:
        # Its end is past, so that nobody tells it: the launch would stay open, and others be left out, till it looks.
        return Fired("skipped", reason=f"it has fired for this time: run {run_id} has ended")
    return fired


def launch_of(row: ScheduleRow, version: VersionRow | None, scheduled_for: datetime) -> LaunchRequest:
    """What a firing for a time launches, but for what only that firing has."""
    return LaunchRequest(
        tenant=row.tenant,
        workflow=row.workflow_id,
        version=row.workflow_version,
        payload=payload_of(row, version, scheduled_for, datetime.now(UTC)),
        trigger_type=row.trigger_type,
    )


async def run_ended(db: Database, tenant: str, schedule_id: str, run_id: str) -> str | None:
    """The final status of a run that a firing launched, recorded with the schedule; None while it is open."""
    async with db.tenant(tenant) as conn:
        run = await get_run(conn, run_id)
        if run is None or run.status not in FINAL_RUN_STATUSES:
            return None
        if run.trigger_fire_key is not None:
            await record_run_end(conn, schedule_id, run.trigger_fire_key, run.status)
    return run.status


def fire_key(schedule_id: str, scheduled_for: datetime) -> str:
    """At most one run of the tenant has it."""
    return f"workflow-schedule-fire:{schedule_id}:{scheduled_for.astimezone(UTC).isoformat()}"


def first_shown(row: ScheduleRow, at: datetime) -> datetime:
    """When the clock shows, for the first time, what a firing of a schedule is for.

    Where the clock is set back, Temporal fires for a time that it shows twice in both hours (01:30 in New York), or
    once more an hour after a time that it shows once (01:30 in Berlin). An expression for every hour means the hours
    that pass, and not the clock.
    """
    if row.cron is None or names_every_hour(row.cron):
        return at
    try:
        zone = ZoneInfo(row.timezone)
    except (KeyError, ValueError, OSError):
        # A machine without a time zone database: Temporal has its own.
        return at
    local = at.astimezone(zone)
    if _offset(at - _NEAR, zone) <= _offset(at + _NEAR, zone):
        return at
    for wall in (local, (at - _LATE).astimezone(zone)):
        if cron_names(row.cron, wall):
            return wall.replace(fold=0).astimezone(UTC)
    return at


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta(0)


async def _key_of(conn: AsyncConnection, row: ScheduleRow, at: datetime) -> tuple[str, RunRow | None]:
    """The key of a firing, and the run of another firing that has it already."""
    own, first = fire_key(row.id, at), fire_key(row.id, first_shown(row, at))
    # A build before this had a key for each: what it has fired keeps that.
    if own == first or await run_of_firing(conn, own) is not None:
        return own, None
    run = await run_of_firing(conn, first)
    metadata = None if run is None else run.trigger_metadata_json
    is_this = isinstance(metadata, Mapping) and metadata.get("scheduledFor") == at.isoformat()
    return first, None if is_this else run


async def _recorded(db: Database, row: ScheduleRow, at: datetime, key: str, fired: Fired) -> Fired:
    async with db.tenant(row.tenant) as conn:
        await record_firing(conn, row, at, key, fired.outcome, fired.reason)
    if fired.outcome == "error":
        # The row tells it until the next firing only.
        extra = {"event": "schedule_fired_in_vain", "tenant": row.tenant}
        _log.warning("schedule %s started no run for %s: %s", row.id, at.isoformat(), fired.reason, extra=extra)
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
