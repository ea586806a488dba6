"""What operators do with schedules. Every function needs a connection whose transaction has its tenant set."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import Client, ScheduleOverlapPolicy

from workflows_core.definitions.model import RecurringTrigger, ScheduleTrigger
from workflows_core.errors import Json, Problem, Refused
from workflows_core.launching.admission import would_start
from workflows_core.publishing.lookup import find_version
from workflows_core.publishing.rebinding import schedule_payload_problems
from workflows_core.schedules.days import day_filter
from workflows_core.schedules.firing import first_shown, launch_of
from workflows_core.schedules.temporal import matching_times, standing
from workflows_core.storage.admission import hold_definition
from workflows_core.storage.definitions import get_version
from workflows_core.storage.json_text import is_storable, payload_fault
from workflows_core.storage.runs import run_of_firing
from workflows_core.storage.schedules import (
    CalendarRow,
    DayTypeFilter,
    OverlapPolicy,
    ScheduleRow,
    WantedSchedule,
    change_schedule,
    get_calendar,
    get_schedule,
    list_schedules,
    store_calendar,
    store_schedule,
)
from workflows_core.validation.time_triggers import time_trigger_problems
from workflows_core.wire.records import FINAL_RUN_STATUSES

_MAX_NAME = 200
_HORIZON = timedelta(days=366 * 4)
_SECOND = timedelta(seconds=1)
_HALF_A_DAY = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class ScheduleRequest:
    """A schedule that somebody wants.

    Attributes:
        name: What it is for.
        run_at: ISO 8601 time with its zone, to fire once.
        cron: Five-field cron expression, to fire again and again.
        timezone: IANA zone of the cron expression.
        days: Which days it fires on.
        calendar: Calendar that says which those are; None for the tenant's default.
        overlap: What happens when the last run is still open.
        payload: What runs start with; None for the clock's payload where the workflow takes it, else `{}`.
    """

    name: str
    run_at: str | None = None
    cron: str | None = None
    timezone: str = "UTC"
    days: DayTypeFilter = "any"
    calendar: str | None = None
    overlap: OverlapPolicy = "skip"
    payload: Json = None


async def create_schedule(
    conn: AsyncConnection, workflow: str, request: ScheduleRequest, *, now: datetime | None = None
) -> ScheduleRow:
    """Stores a schedule of a workflow (key or id), for its newest published version; Temporal follows.

    Raises:
        Refused: Everything that is wrong: `WORKFLOW_UNKNOWN`, `WORKFLOW_NOT_PUBLISHED`, `SCHEDULE_INVALID`,
            `TIME_TRIGGER_*`, `DAY_FILTER_NOT_ALLOWED_FOR_ONE_TIME`, `BUSINESS_HOURS_OVERRIDE_NOT_FOUND`,
            `BUSINESS_HOURS_SCHEDULE_REQUIRED`, `PAYLOAD_INVALID`.
    """
    # Held, so that no version is published meanwhile that would not find the schedule and leave it behind.
    await hold_definition(conn, workflow)
    definition, version = await find_version(conn, workflow)
    run_at, cron = request.run_at, request.cron
    problems = []
    if not request.name.strip() or len(request.name) > _MAX_NAME or not is_storable(request.name):
        problems.append(Problem("SCHEDULE_INVALID", f"must be 1 to {_MAX_NAME} characters, none of them NUL", "name"))
    problems += _time_problems(run_at, cron, request.timezone, now or datetime.now(UTC))
    if request.overlap == "terminate_other":
        message = "a terminated launch could not end its run, which would stay open: use cancel_other"
        problems.append(Problem("SCHEDULE_INVALID", message, "overlap"))
    problems += await _day_problems(conn, request.days, request.calendar, once=run_at is not None)
    fault = payload_fault(request.payload)
    if fault is not None:
        problems.append(Problem("PAYLOAD_INVALID", fault, "payload"))
    if problems:
        raise Refused(problems)
    schedule_id = str(uuid.uuid4())
    wanted = WantedSchedule(
        id=schedule_id,
        workflow_id=definition.workflow_id,
        workflow_version=version.version,
        name=request.name,
        origin="operator",
        run_at=None if run_at is None else datetime.fromisoformat(run_at.strip()),
        cron=None if cron is None else cron.strip(),
        timezone=request.timezone,
        day_type_filter=request.days,
        business_hours_schedule_id=request.calendar,
        overlap_policy=request.overlap,
        payload_json=request.payload,
    )
    await store_schedule(conn, wanted)
    row = await required(conn, schedule_id)
    wrong = schedule_payload_problems(row, version)
    if wrong:
        raise Refused(wrong)
    return row


async def required(conn: AsyncConnection, schedule_id: str) -> ScheduleRow:
    """The schedule.

    Raises:
        Refused: `SCHEDULE_NOT_FOUND`.
    """
    row = await get_schedule(conn, schedule_id)
    if row is None or row.status == "deleted":
        raise Refused.one("SCHEDULE_NOT_FOUND", f"this tenant has no schedule {schedule_id!r}", "scheduleId")
    return row


async def pause_schedule(conn: AsyncConnection, schedule_id: str) -> None:
    """It fires no more until it is resumed.

    Raises:
        Refused: `SCHEDULE_NOT_FOUND`, `SCHEDULE_ENDED`.
    """
    while True:
        row = await required(conn, schedule_id)
        _check_open(row)
        if await change_schedule(conn, schedule_id, enabled=False, status="paused", read=row):
            return


async def resume_schedule(conn: AsyncConnection, schedule_id: str) -> None:
    """It fires again, also one that had failed.

    Raises:
        Refused: `SCHEDULE_NOT_FOUND`, `SCHEDULE_ENDED`, `SCHEDULE_TIME_PASSED`, `BUSINESS_HOURS_SCHEDULE_REQUIRED`,
            `PAYLOAD_INVALID`.
    """
    while not await _resumed(conn, await required(conn, schedule_id)):
        pass


async def _resumed(conn: AsyncConnection, row: ScheduleRow) -> bool:
    """False when it has changed since it was read."""
    _check_open(row)
    if row.run_at is not None and row.run_at <= datetime.now(UTC):
        again = "publish a version with" if row.origin == "trigger" else "create another one for"
        message = f"its one time, {row.run_at.isoformat()}, has passed, so it would never fire: {again} a time to come"
        raise Refused.one("SCHEDULE_TIME_PASSED", message, "scheduleId")
    day_filter(row.day_type_filter, await get_calendar(conn, row.business_hours_schedule_id))
    version = await get_version(conn, row.workflow_id, row.workflow_version)
    wrong = [] if version is None else schedule_payload_problems(row, version)
    if wrong:
        raise Refused(wrong)
    return await change_schedule(conn, row.id, enabled=True, status="scheduled", read=row)


async def delete_schedule(conn: AsyncConnection, schedule_id: str) -> None:
    """It is gone once Temporal has followed.

    Raises:
        Refused: `SCHEDULE_NOT_FOUND`, `SCHEDULE_OF_TRIGGER`.
    """
    row = await required(conn, schedule_id)
    if row.origin == "trigger":
        message = "it is the trigger of its workflow: publish a version without it, or pause it"
        raise Refused.one("SCHEDULE_OF_TRIGGER", message, "scheduleId")
    await change_schedule(conn, schedule_id, enabled=False, status="deleted")


async def next_times(conn: AsyncConnection, client: Client, row: ScheduleRow, count: int) -> list[datetime]:
    """The next times it fires, as Temporal has them, without those that the day filter leaves out.

    There are none while it is paused, failed or completed.

    Raises:
        Refused: `BUSINESS_HOURS_SCHEDULE_REQUIRED`.
        RPCError: Temporal does not know the schedule yet, or does not answer.
    """
    if not row.enabled:
        return []
    if row.run_at is not None:
        return [row.run_at] if row.run_at > datetime.now(UTC) else []
    now = datetime.now(UTC)
    return await _admitted_times(conn, client, row, now + _SECOND, now + _HORIZON, count)


async def has_time(conn: AsyncConnection, client: Client, row: ScheduleRow, since: datetime, until: datetime) -> bool:
    """Whether it has a time to make up for from one moment to another, both included, that its day filter admits.

    Raises:
        Refused: `SCHEDULE_FAILED`, `BUSINESS_HOURS_SCHEDULE_REQUIRED`; `WORKFLOW_PAUSED`, `CONCURRENCY_LIMIT_REACHED`,
            `PAYLOAD_INVALID`: it has one, and would start no run.
        RPCError: Temporal does not know the schedule yet, or does not answer.
    """
    _check_fires(row)
    if not await _admitted_times(conn, client, row, since, until, 1):
        return False
    found = await standing(client, row)
    if found is None or not found.launches:
        await _check_starts(conn, row)
    return True


async def trigger_schedule(conn: AsyncConnection, client: Client, row: ScheduleRow) -> bool:
    """Fires it, whether it is paused or not; day filter and overlap policy hold.

    Returns:
        Whether it fires at once, and not when the open run has ended.

    Raises:
        Refused: `SCHEDULE_FAILED`, `BUSINESS_HOURS_SCHEDULE_REQUIRED`; `SCHEDULE_DAY_LEFT_OUT`, `SCHEDULE_RUN_OPEN`: it
            would be left out; `WORKFLOW_PAUSED`, `CONCURRENCY_LIMIT_REACHED`, `PAYLOAD_INVALID`: it would start no run.
        RPCError: Temporal does not know the schedule yet, or does not answer.
    """
    _check_fires(row)
    days = day_filter(row.day_type_filter, await get_calendar(conn, row.business_hours_schedule_id))
    if not days.admits(datetime.now(UTC)):
        message = f"today is no {row.day_type_filter.replace('_', '-')} day: this firing would be left out"
        raise Refused.one("SCHEDULE_DAY_LEFT_OUT", message, "scheduleId")
    found = await standing(client, row)
    if found is not None and found.leaves_out:
        run_id = await open_run(conn, row)
        what = f"the launch {found.launches[0]}" if run_id is None else f"run {run_id}"
        message = f"{what} is open: with overlap {row.overlap_policy} this firing would be left out"
        raise Refused.one("SCHEDULE_RUN_OPEN", message, "scheduleId")
    is_open = found is not None and len(found.launches) > 0
    if not is_open or row.overlap_policy == "allow_all":
        # Behind a run that ends first, or is asked to cancel, there may be room which is not there yet.
        await _check_starts(conn, row)
    overlap = None
    if row.overlap_policy in ("cancel_other", "terminate_other"):
        # One more of the same second has the run of the first one, which it would cancel: that one is to go on.
        is_first = found is None or all(map(_is_earlier, found.launches))
        overlap = None if is_open and is_first else ScheduleOverlapPolicy.SKIP
    await client.get_schedule_handle(row.runner_schedule_id).trigger(overlap=overlap)
    return not is_open or not row.overlap_policy.startswith("buffer")


async def import_calendars(conn: AsyncConnection, calendars: Sequence[CalendarRow]) -> None:
    """Stores calendars; what was there under their ids is replaced.

    Raises:
        Refused: `CALENDAR_INVALID`: the default is one no more, and schedules go by it; each would fail when it fires.
    """
    before = await get_calendar(conn, None)
    for calendar in calendars:
        await store_calendar(conn, calendar)
    if before is None or await get_calendar(conn, None) is not None:
        return
    left = [
        row.id
        for row in await list_schedules(conn)
        if row.day_type_filter != "any" and row.business_hours_schedule_id is None
    ]
    if left:
        message = (
            f"it is the tenant's default, and the day filters of {len(left)} schedule(s) go by that"
            f" ({left[0]} for one):"
            ' say "default": true here, or of the calendar that takes its place'
        )
        raise Refused.one("CALENDAR_INVALID", message, f"{before.schedule_id}.default")


async def open_run(conn: AsyncConnection, row: ScheduleRow) -> str | None:
    """The run of its last firing while that is open."""
    run = None if row.last_fire_key is None else await run_of_firing(conn, row.last_fire_key)
    return None if run is None or run.status in FINAL_RUN_STATUSES else run.run_id


async def _admitted_times(
    conn: AsyncConnection, client: Client, row: ScheduleRow, since: datetime, until: datetime, count: int
) -> list[datetime]:
    """The first times from one moment to another, both included, without those that the day filter leaves out."""
    days = day_filter(row.day_type_filter, await get_calendar(conn, row.business_hours_schedule_id))
    found: list[datetime] = []
    # Temporal answers no more than the first thousand, and all of them may be of days that are left out.
    while len(found) < count:
        begins = days.first_admitted(since, until + _SECOND)
        times = [] if begins is None else await matching_times(client, row, begins - _SECOND, until)
        if not times:
            break
        found += [at for at in times if days.admits(at) and not await _is_repeat(client, row, at)]
        since = times[-1] + _SECOND
    return found[:count]


async def _is_repeat(client: Client, row: ScheduleRow, at: datetime) -> bool:
    """Whether it starts nothing, since Temporal fires for the same time of the clock before."""
    first = first_shown(row, at)
    # In that hour itself Temporal's answer goes by where the question begins.
    earlier = [] if first == at else await matching_times(client, row, first - _HALF_A_DAY, at - _SECOND)
    return any(first_shown(row, one) == first for one in earlier)


def _is_earlier(launch: str) -> bool:
    """Whether a launch, whose id Temporal ends with its time, is of a second before this one."""
    return datetime.now(UTC) - datetime.fromisoformat(launch[-len("2030-01-01T00:00:00Z") :]) >= _SECOND


def _check_open(row: ScheduleRow) -> None:
    if row.status == "completed":
        raise Refused.one("SCHEDULE_ENDED", "it has fired and is completed: create another one", "scheduleId")


def _check_fires(row: ScheduleRow) -> None:
    """A firing of one that is failed launches nothing, whoever asks for it."""
    if row.status == "failed":
        message = f"it is failed and launches nothing: {row.last_error}; mend that and resume it"
        raise Refused.one("SCHEDULE_FAILED", message, "scheduleId")


async def _check_starts(conn: AsyncConnection, row: ScheduleRow) -> None:
    """Whether a firing now would be refused, which only the row would say afterwards."""
    version = await get_version(conn, row.workflow_id, row.workflow_version)
    await would_start(conn, launch_of(row, version, datetime.now(UTC)))


def _time_problems(run_at: str | None, cron: str | None, timezone: str, now: datetime) -> list[Problem]:
    if (run_at is None) is (cron is None):
        message = "give either a time to fire once, or a cron expression to fire again and again"
        return [Problem("SCHEDULE_INVALID", message, "runAt" if cron is None else "cron")]
    trigger: ScheduleTrigger | RecurringTrigger
    if run_at is not None:
        trigger = ScheduleTrigger.model_validate({"type": "schedule", "runAt": run_at or " "})
    else:
        trigger = RecurringTrigger.model_validate(
            {"type": "recurring", "cron": cron or " ", "timezone": timezone or " "}
        )
    found = time_trigger_problems(trigger, now)
    return [replace(problem, path=problem.path.removeprefix("trigger.")) for problem in found]


async def _day_problems(
    conn: AsyncConnection, days: DayTypeFilter, calendar: str | None, *, once: bool
) -> list[Problem]:
    if days == "any" and calendar is None:
        return []
    if once:
        message = "a schedule for one time fires at that time, whatever day it is: leave the day filter out"
        return [Problem("DAY_FILTER_NOT_ALLOWED_FOR_ONE_TIME", message, "days")]
    row = await get_calendar(conn, calendar)
    if calendar is not None and row is None:
        message = f"this tenant has no calendar {calendar!r}; `workflows calendars list` has those there are"
        return [Problem("BUSINESS_HOURS_OVERRIDE_NOT_FOUND", message, "calendar")]
    if days == "any":
        message = "a calendar leaves no day out by itself: say --days business or --days non_business, or leave it out"
        return [Problem("SCHEDULE_INVALID", message, "calendar")]
    try:
        day_filter(days, row)
    except Refused as error:
        return list(error.problems)
    return []
