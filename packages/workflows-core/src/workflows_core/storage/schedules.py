"""Schedules and business calendars of a tenant.

Every function but `schedules_behind` needs a connection whose transaction has its tenant set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Json
from workflows_core.storage.json_text import json_text
from workflows_core.storage.rows import Row

OverlapPolicy = Literal["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"]
DayTypeFilter = Literal["any", "business", "non_business"]

_COLUMNS = """s.tenant, s.id, s.workflow_id, s.workflow_version, s.name, s.origin, s.trigger_type, s.day_type_filter,
    s.business_hours_schedule_id, s.run_at, s.cron, s.timezone, s.overlap_policy, s.payload_json, s.enabled, s.status,
    s.runner_schedule_id, s.last_fire_at, s.last_fire_key, s.last_run_status, s.last_error, s.revision,
    s.synced_revision"""
_MINE = "s.tenant = current_setting('workflows.tenant')"
_GET = text(f"SELECT {_COLUMNS} FROM tenant_workflow_schedule s WHERE {_MINE} AND s.id = :id")  # noqa: S608
_LIST = text(
    f"SELECT {_COLUMNS} FROM tenant_workflow_schedule s"  # noqa: S608 - constants of ours
    f" WHERE {_MINE} AND s.status <> 'deleted'"
    " AND (CAST(:workflow_id AS text) IS NULL OR s.workflow_id = :workflow_id) ORDER BY s.workflow_id, s.id"
)
_UPSERT = text(
    """
    INSERT INTO tenant_workflow_schedule AS s
        (tenant, id, workflow_id, workflow_version, name, origin, trigger_type, day_type_filter,
         business_hours_schedule_id, run_at, cron, timezone, overlap_policy, payload_json, status, runner_schedule_id)
    VALUES (current_setting('workflows.tenant'), :id, :workflow_id, :workflow_version, :name, :origin, :trigger_type,
            :day_type_filter, :calendar, :run_at, :cron, :timezone, :overlap_policy, CAST(:payload AS jsonb),
            'scheduled', 'workflow-schedule:' || current_setting('workflows.tenant') || ':' || CAST(:id AS text))
    ON CONFLICT (tenant, id) DO UPDATE SET
        workflow_version = excluded.workflow_version, name = excluded.name, trigger_type = excluded.trigger_type,
        run_at = excluded.run_at, cron = excluded.cron, timezone = excluded.timezone,
        enabled = s.status <> 'paused', status = CASE WHEN s.status = 'paused' THEN s.status ELSE 'scheduled' END,
        last_error = NULL, revision = s.revision + 1, updated_at = now()
    """
)
_CHANGE = text(
    """
    UPDATE tenant_workflow_schedule s SET
        enabled = :enabled, status = :status, last_error = :error, revision = s.revision + 1, updated_at = now()
     WHERE s.tenant = current_setting('workflows.tenant') AND s.id = :id
       AND (CAST(:read AS integer) IS NULL OR s.revision = :read AND s.status NOT IN ('completed', 'deleted'))
    """
)
_BIND = text(
    "UPDATE tenant_workflow_schedule s SET workflow_version = :version, updated_at = now()"
    " WHERE s.tenant = current_setting('workflows.tenant') AND s.id = :id"
)
_FIRED = text(
    """
    UPDATE tenant_workflow_schedule s SET
        last_fire_at = :at, last_fire_key = :key, last_run_status = :run_status, last_error = :error,
        enabled = s.enabled AND (s.run_at = CAST(:run_at AS timestamptz)) IS NOT TRUE,
        status = CASE WHEN s.run_at = CAST(:run_at AS timestamptz) AND s.status <> 'deleted' THEN 'completed'
                      ELSE s.status END,
        updated_at = now()
     WHERE s.tenant = current_setting('workflows.tenant') AND s.id = :id
    """
)
_RUN_ENDED = text(
    "UPDATE tenant_workflow_schedule s SET last_run_status = :run_status"
    " WHERE s.tenant = current_setting('workflows.tenant') AND s.id = :id AND s.last_fire_key = :key"
)
_SYNCED = text(
    "UPDATE tenant_workflow_schedule s SET synced_revision = s.revision"
    " WHERE s.tenant = current_setting('workflows.tenant') AND s.id = :id AND s.revision = :revision"
)
_REMOVE = text(
    "DELETE FROM tenant_workflow_schedule s"
    " WHERE s.tenant = current_setting('workflows.tenant') AND s.id = :id AND s.status = 'deleted'"
)
# The function's own limit is left out: it begins at the first one always, so a later page would never be reached.
_BEHIND = text(
    "SELECT b.tenant, b.id FROM workflow_schedules_behind(:everything, NULL) AS b"
    " WHERE (b.tenant, b.id) > (:tenant, :id) ORDER BY b.tenant, b.id LIMIT :limit"
)

_CALENDAR_COLUMNS = "c.schedule_id, c.name, c.timezone, c.hours, c.holidays, c.is_default"
_CALENDAR = text(
    f"SELECT {_CALENDAR_COLUMNS} FROM business_hours_schedules c"  # noqa: S608 - a constant of ours
    " WHERE c.tenant = current_setting('workflows.tenant')"
    " AND CASE WHEN CAST(:id AS text) IS NULL THEN c.is_default ELSE c.schedule_id = :id END"
)
_CALENDARS = text(
    f"SELECT {_CALENDAR_COLUMNS} FROM business_hours_schedules c"  # noqa: S608 - a constant of ours
    " WHERE c.tenant = current_setting('workflows.tenant') ORDER BY c.schedule_id"
)
_NO_DEFAULT = text(
    "UPDATE business_hours_schedules c SET is_default = false WHERE c.tenant = current_setting('workflows.tenant')"
)
_STORE_CALENDAR = text(
    """
    INSERT INTO business_hours_schedules AS c (tenant, schedule_id, name, timezone, hours, holidays, is_default)
    VALUES (current_setting('workflows.tenant'), :schedule_id, :name, :timezone, CAST(:hours AS jsonb),
            CAST(:holidays AS jsonb), :is_default)
    ON CONFLICT (tenant, schedule_id) DO UPDATE SET
        name = excluded.name, timezone = excluded.timezone, hours = excluded.hours, holidays = excluded.holidays,
        is_default = excluded.is_default, updated_at = now()
    """
)


@dataclass(frozen=True, slots=True)
class ScheduleRow(Row):
    """A schedule; the names are the columns'.

    Attributes:
        tenant: Whose it is.
        id: Its id.
        workflow_id: What it starts.
        workflow_version: In which version: the newest published one.
        name: For people.
        origin: `trigger`, the workflow's own, or `operator`.
        trigger_type: `schedule`, once, or `recurring`.
        day_type_filter: `any`, `business` or `non_business` days.
        business_hours_schedule_id: The calendar that says which; None for the tenant's default.
        run_at: When, once.
        cron: When, again and again.
        timezone: Zone of the cron expression.
        overlap_policy: What happens when the last run is still open.
        payload_json: What runs start with; None for the clock's payload, or `{}`.
        enabled: Whether it fires.
        status: `scheduled`, `paused`, `disabled`, `completed`, `failed` or `deleted`.
        runner_schedule_id: Id of the Temporal Schedule.
        last_fire_at: Time of the last firing, as scheduled.
        last_fire_key: Of the last firing.
        last_run_status: `launched`, `skipped`, `error`, or the status the last run ended with.
        last_error: Why it failed, or fired in vain.
        revision: Counts the changes of what is wanted.
        synced_revision: The one that Temporal has.
    """

    tenant: str
    id: str
    workflow_id: str
    workflow_version: int
    name: str
    origin: str
    trigger_type: Literal["schedule", "recurring"]
    day_type_filter: DayTypeFilter
    business_hours_schedule_id: str | None
    run_at: datetime | None
    cron: str | None
    timezone: str
    overlap_policy: OverlapPolicy
    payload_json: Json
    enabled: bool
    status: str
    runner_schedule_id: str
    last_fire_at: datetime | None
    last_fire_key: str | None
    last_run_status: str | None
    last_error: str | None
    revision: int
    synced_revision: int

    @property
    def moment(self) -> datetime | None:
        """The one time of a schedule for once as Temporal has it, to the second; None for a recurring one."""
        return None if self.run_at is None else self.run_at.astimezone(UTC).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class WantedSchedule:
    """A schedule to store; the names are those of `ScheduleRow`."""

    id: str
    workflow_id: str
    workflow_version: int
    name: str
    origin: Literal["trigger", "operator"]
    run_at: datetime | None = None
    cron: str | None = None
    timezone: str = "UTC"
    day_type_filter: DayTypeFilter = "any"
    business_hours_schedule_id: str | None = None
    overlap_policy: OverlapPolicy = "skip"
    payload_json: Json = None


@dataclass(frozen=True, slots=True)
class CalendarRow(Row):
    """A business calendar: `hours` by weekday as `[[begins, ends]]`, `holidays` as `YYYY-MM-DD` or `MM-DD`."""

    schedule_id: str
    name: str
    timezone: str
    hours: Mapping[str, list[list[str]]]
    holidays: list[str]
    is_default: bool


async def store_schedule(conn: AsyncConnection, wanted: WantedSchedule) -> None:
    """Stores a schedule; one of this id gets its time, name and version, and fires again unless it is paused."""
    values = {
        "id": wanted.id,
        "workflow_id": wanted.workflow_id,
        "workflow_version": wanted.workflow_version,
        "name": wanted.name,
        "origin": wanted.origin,
        "trigger_type": "recurring" if wanted.run_at is None else "schedule",
        "day_type_filter": wanted.day_type_filter,
        "calendar": wanted.business_hours_schedule_id,
        "run_at": wanted.run_at,
        "cron": wanted.cron,
        "timezone": wanted.timezone,
        "overlap_policy": wanted.overlap_policy,
        "payload": None if wanted.payload_json is None else json_text(wanted.payload_json),
    }
    await conn.execute(_UPSERT, values)


async def get_schedule(conn: AsyncConnection, schedule_id: str) -> ScheduleRow | None:
    """One schedule, a deleted one too, or None."""
    row = (await conn.execute(_GET, {"id": schedule_id})).one_or_none()
    return None if row is None else ScheduleRow.of(row)


async def list_schedules(conn: AsyncConnection, workflow_id: str | None = None) -> list[ScheduleRow]:
    """The tenant's schedules, or those of one workflow."""
    return [ScheduleRow.of(row) for row in await conn.execute(_LIST, {"workflow_id": workflow_id})]


async def change_schedule(
    conn: AsyncConnection,
    schedule_id: str,
    *,
    enabled: bool,
    status: str,
    error: str | None = None,
    read: ScheduleRow | None = None,
) -> bool:
    """Changes whether it fires; the Temporal Schedule follows.

    Args:
        conn: Where.
        schedule_id: The schedule.
        enabled: Whether it fires.
        status: Its new status.
        error: Why, for one that fails.
        read: What the change was decided by; one that has changed since, or is completed or deleted, stays as it is.

    Returns:
        Whether it was changed.
    """
    values = {"id": schedule_id, "enabled": enabled, "status": status, "error": error}
    changed = await conn.execute(_CHANGE, {**values, "read": None if read is None else read.revision})
    return changed.rowcount > 0


async def bind_schedule(conn: AsyncConnection, schedule_id: str, version: int) -> None:
    """It starts this version from now on."""
    await conn.execute(_BIND, {"id": schedule_id, "version": version})


async def record_firing(
    conn: AsyncConnection, row: ScheduleRow, at: datetime, key: str, run_status: str, error: str | None
) -> None:
    """What a firing did.

    A schedule for once is completed by the firing for its time, or by one by hand after it; by none before it, and
    not when it has another time since `row` was read.
    """
    completed = None if row.moment is None or at < row.moment else row.run_at
    values = {"id": row.id, "run_at": completed, "at": at, "key": key, "run_status": run_status, "error": error}
    await conn.execute(_FIRED, values)


async def record_run_end(conn: AsyncConnection, schedule_id: str, key: str, run_status: str) -> None:
    """How the run of the last firing ended; that of an earlier one is not told."""
    await conn.execute(_RUN_ENDED, {"id": schedule_id, "key": key, "run_status": run_status})


async def mark_synced(conn: AsyncConnection, row: ScheduleRow) -> bool:
    """Temporal has this revision; False when the row is of another one by now, or gone."""
    return (await conn.execute(_SYNCED, {"id": row.id, "revision": row.revision})).rowcount > 0


async def remove_deleted(conn: AsyncConnection, schedule_id: str) -> None:
    """The Temporal Schedule is gone, and the row goes."""
    await conn.execute(_REMOVE, {"id": schedule_id})


async def schedules_behind(
    conn: AsyncConnection, *, everything: bool, limit: int, after: tuple[str, str] = ("", "")
) -> list[tuple[str, str]]:
    """(tenant, id) of schedules whose Temporal Schedule is behind, or of all, in that order (narrow connection).

    Args:
        conn: Where.
        everything: All of them.
        limit: At most so many.
        after: Only those behind this one: the last of the page before.
    """
    values = {"everything": everything, "limit": limit, "tenant": after[0], "id": after[1]}
    return [(row.tenant, row.id) for row in await conn.execute(_BEHIND, values)]


async def get_calendar(conn: AsyncConnection, calendar_id: str | None) -> CalendarRow | None:
    """One calendar, the tenant's default for None; None when there is none."""
    row = (await conn.execute(_CALENDAR, {"id": calendar_id})).one_or_none()
    return None if row is None else CalendarRow.of(row)


async def list_calendars(conn: AsyncConnection) -> list[CalendarRow]:
    """The tenant's calendars."""
    return [CalendarRow.of(row) for row in await conn.execute(_CALENDARS)]


async def store_calendar(conn: AsyncConnection, calendar: CalendarRow) -> None:
    """Stores a calendar; a default one takes the place of the one before."""
    if calendar.is_default:
        await conn.execute(_NO_DEFAULT)
    values = {
        "schedule_id": calendar.schedule_id,
        "name": calendar.name,
        "timezone": calendar.timezone,
        "hours": json_text(dict(calendar.hours)),
        "holidays": json_text(calendar.holidays),
        "is_default": calendar.is_default,
    }
    await conn.execute(_STORE_CALENDAR, values)
