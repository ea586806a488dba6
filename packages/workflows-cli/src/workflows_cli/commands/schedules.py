"""`workflows schedules …` and `workflows calendars import | list`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, get_args

import click
from temporalio.client import ScheduleBackfill, ScheduleOverlapPolicy
from temporalio.service import RPCError

from service_host.errors import Unreachable
from workflows_cli.output import table, utc_text
from workflows_cli.session import UTC_TIME, Session, command, given_json, read_document, window_problems
from workflows_core.errors import Problem, Refused
from workflows_core.launching.problems import is_not_there
from workflows_core.publishing.lookup import find_workflow
from workflows_core.schedules import managing
from workflows_core.schedules.days import read_calendars
from workflows_core.schedules.temporal import ScheduleSync, Standing, standing
from workflows_core.storage.schedules import (
    DayTypeFilter,
    OverlapPolicy,
    ScheduleRow,
    get_schedule,
    list_calendars,
    list_schedules,
)

_COLUMNS = ("id", "name", "workflowId", "workflowVersion", "cron", "runAt", "timezone", "dayTypeFilter", "status")
_UNKNOWN: dict[str, Any] = {"skippedOverlap": None, "missed": None}
_AT_ONCE = 20
"""Schedules that Temporal is asked about."""


@click.group("schedules")
def schedules_group() -> None:
    """What starts runs by the clock."""


@schedules_group.command("list")
@click.option("--workflow", help="Only those of this workflow (key or id).")
@command
async def list_(session: Session, workflow: str | None) -> int:
    """List schedules, those of triggers too."""
    async with session.db.tenant(session.tenant) as conn:
        workflow_id = None if workflow is None else (await find_workflow(conn, workflow)).workflow_id
        found = await list_schedules(conn, workflow_id)
    counts, why = await _counts(session, found)
    rows = [{**row.to_json(), **count} for row, count in zip(found, counts, strict=True)]
    text = table(rows, (*_COLUMNS, "lastRunStatus", "lastFireAt", *_UNKNOWN, "lastError"))
    session.emit(rows, f"{text}\n{why}" if why else text)
    return 0


@schedules_group.command("create")
@click.argument("workflow")
@click.option("--name", required=True, help="What it is for.")
@click.option("--at", "run_at", help="Fire once, at this ISO 8601 time with its zone.")
@click.option("--cron", help="Fire by this five-field cron expression.")
@click.option("--timezone", default="UTC", show_default=True, help="IANA zone of the cron expression.")
@click.option("--days", type=click.Choice(get_args(DayTypeFilter)), default="any", show_default=True)
@click.option("--calendar", help="Calendar of --days; by default the tenant's default.")
@click.option("--overlap", type=click.Choice(get_args(OverlapPolicy)), default="skip", show_default=True)
@click.option("--payload", help="JSON payload of the runs, or @FILE.")
@command
async def create(session: Session, workflow: str, **options: Any) -> int:
    """Make a schedule that starts runs of WORKFLOW (key or id), always in its newest published version."""
    payload = options.pop("payload")
    body = None if payload is None else given_json(payload, "--payload")
    async with session.db.tenant(session.tenant) as conn:
        row = await managing.create_schedule(conn, workflow, managing.ScheduleRequest(payload=body, **options))
    return await _followed(session, row.id, "created")


@schedules_group.command("show")
@click.argument("schedule_id")
@click.option("--next", "count", type=click.IntRange(1, 100), default=5, show_default=True, help="How many next times.")
@command
async def show(session: Session, schedule_id: str, count: int) -> int:
    """Show a schedule and its next times, as Temporal has them, without the days that its filter leaves out."""
    client = await session.temporal()
    async with session.db.tenant(session.tenant) as conn:
        row = await managing.required(conn, schedule_id)
        try:
            ahead: dict[str, Any] = {"next": await _in_temporal(managing.next_times(conn, client, row, count), row)}
        except Refused as error:
            # Its row is what says why it stands still.
            ahead = {"next": None, "nextUnknown": f"{error.code}: {error.sentence}"}
        run_id = await managing.open_run(conn, row)
    counted = _counted(await standing(client, row))
    facts = {**row.to_json(), "openRunId": run_id, **counted, **ahead}
    session.emit(facts, table([{"field": name, "value": value} for name, value in facts.items()], ("field", "value")))
    return 0


@schedules_group.command("pause")
@click.argument("schedule_id")
@command
async def pause(session: Session, schedule_id: str) -> int:
    """Fire no more until resumed."""
    async with session.db.tenant(session.tenant) as conn:
        await managing.pause_schedule(conn, schedule_id)
    return await _followed(session, schedule_id, "paused")


@schedules_group.command("resume")
@click.argument("schedule_id")
@command
async def resume(session: Session, schedule_id: str) -> int:
    """Fire again, also after a failure."""
    async with session.db.tenant(session.tenant) as conn:
        await managing.resume_schedule(conn, schedule_id)
    return await _followed(session, schedule_id, "resumed")


@schedules_group.command("delete")
@click.argument("schedule_id")
@command
async def delete(session: Session, schedule_id: str) -> int:
    """Delete a schedule; the runs it started stay."""
    async with session.db.tenant(session.tenant) as conn:
        await managing.delete_schedule(conn, schedule_id)
    return await _followed(session, schedule_id, "deleted")


@schedules_group.command("trigger")
@click.argument("schedule_id")
@command
async def trigger(session: Session, schedule_id: str) -> int:
    """Fire now, whether it is paused or not; day filter and overlap policy hold, a time to come stays to come.

    Refused where it would be left out: by the day filter, or since the run of the last firing is open.
    """
    client = await session.temporal()
    async with session.db.tenant(session.tenant) as conn:
        row = await managing.required(conn, schedule_id)
        at_once = await _in_temporal(managing.trigger_schedule(conn, client, row), row)
    when = "now" if at_once else "when its open run has ended"
    session.emit({"id": schedule_id, "triggered": True, "atOnce": at_once}, f"schedule {schedule_id} fires {when}")
    return 0


@schedules_group.command("backfill")
@click.argument("schedule_id")
@click.option("--from", "since", type=UTC_TIME, required=True, help="First time to make up for (UTC).")
@click.option("--until", type=UTC_TIME, required=True, help="Last time to make up for (UTC).")
@command
async def backfill(session: Session, schedule_id: str, since: datetime, until: datetime) -> int:
    """Fire for past times, one after the other; a time that has a run already starts no second one."""
    problems = window_problems(since, until)
    if until > datetime.now(UTC):
        # Temporal would fire for times to come at once.
        message = "must not be after now: what is to come fires when its time comes"
        problems.append(Problem("OPTION_NOT_FITTING", message, "--until"))
    if problems:
        raise Refused(problems)
    client = await session.temporal()
    async with session.db.tenant(session.tenant) as conn:
        row = await managing.required(conn, schedule_id)
        has_time = await _in_temporal(managing.has_time(conn, client, row, since, until), row)
    told = f"{utc_text(since)} to {utc_text(until)}"
    if not has_time:
        text = f"schedule {schedule_id} has no time from {told} to make up for"
        session.emit({"id": schedule_id, "backfilled": False}, text)
        return 0
    span = ScheduleBackfill(start_at=since, end_at=until, overlap=ScheduleOverlapPolicy.BUFFER_ALL)
    await _in_temporal(client.get_schedule_handle(row.runner_schedule_id).backfill(span), row)
    session.emit({"id": schedule_id, "backfilled": True}, f"schedule {schedule_id} makes up for {told}")
    return 0


@click.group("calendars")
def calendars_group() -> None:
    """Business calendars, which the day filters of schedules go by."""


@calendars_group.command("import")
@click.argument("file")
@command
async def import_(session: Session, file: str) -> int:
    """Store the calendars in FILE: a JSON object from an id to {"name", "timezone", "hours", "holidays", "default"}."""
    calendars = read_calendars(read_document(file))
    async with session.db.tenant(session.tenant) as conn:
        await managing.import_calendars(conn, calendars)
    rows = [calendar.to_json() for calendar in calendars]
    session.emit(rows, table(rows, ("scheduleId", "name", "timezone", "isDefault")))
    return 0


@calendars_group.command("list")
@command
async def list_calendars_(session: Session) -> int:
    """List the tenant's calendars."""
    async with session.db.tenant(session.tenant) as conn:
        rows = [calendar.to_json() for calendar in await list_calendars(conn)]
    session.emit(rows, table(rows, ("scheduleId", "name", "timezone", "isDefault", "hours", "holidays")))
    return 0


def _counted(found: Standing | None) -> dict[str, Any]:
    return _UNKNOWN if found is None else {"skippedOverlap": found.skipped_overlap, "missed": found.missed}


async def _counts(session: Session, rows: Sequence[ScheduleRow]) -> tuple[list[dict[str, Any]], str]:
    """What Temporal has counted of each, and why that is not known where it does not answer."""
    if not rows:
        return [], ""
    try:
        client = await session.temporal()
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def one(row: ScheduleRow) -> dict[str, Any]:
            async with at_once:
                return _counted(await standing(client, row))

        return await asyncio.gather(*map(one, rows)), ""
    except (Unreachable, RPCError) as error:
        return [_UNKNOWN] * len(rows), f"skipped and missed firings are not known: {error}"


async def _followed(session: Session, schedule_id: str, what: str) -> int:
    """Makes Temporal follow at once where it answers; else workflow-worker does it."""
    facts: dict[str, Any] = {"id": schedule_id, what: True, "inTemporal": False}
    text = f"{what} schedule {schedule_id}"
    try:
        await ScheduleSync(session.db, await session.temporal()).sync(session.tenant, schedule_id)
        facts["inTemporal"] = True
    except Exception as error:
        text += f"\nTemporal does not have it yet ({type(error).__name__}); workflow-worker brings it there"
    async with session.db.tenant(session.tenant) as conn:
        row = await get_schedule(conn, schedule_id)
    code = 0
    if row is not None and row.status == "failed":
        code, facts = 1, {**facts, "inTemporal": False, "failed": row.last_error}
        text += f", which is failed: {row.last_error}"
    session.emit(facts, text)
    return code


async def _in_temporal(work: Any, row: ScheduleRow) -> Any:
    try:
        return await work
    except RPCError as error:
        if not is_not_there(error):
            raise
        message = "Temporal does not have it yet: workflow-worker brings it there within seconds; is one running?"
        raise Refused.one("SCHEDULE_NOT_SYNCED", message, row.id) from error
