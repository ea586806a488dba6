"""Schedules of domain workflows: declared in one file, brought to Temporal one by one.

A schedule that Temporal refuses hides and blocks no other: it is told by name, in the log and in readiness, and is
tried again.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from service_host.errors import StartProblem, StartRefused
from service_host.logs import log_event
from service_host.progress import Loop, Progress, RestartBudget, StopStage

RETRY_SECONDS: Final = 30.0
_VARIABLE: Final = "TEMPORAL_SCHEDULES_FILE"
_LONGEST_SECONDS: Final = 10 * 366 * 86_400.0
"""Ten years: what is longer is a slip, and Temporal takes no time without an end."""


class DomainSchedule(BaseModel):
    """One schedule of the file.

    Attributes:
        id: Of the schedule in Temporal.
        workflow: Name of the workflow type.
        queue: A queue that temporal-worker owns.
        every_seconds: The interval; or else `cron`.
        cron: Five fields, in `timezone`.
        timezone: IANA name.
        arguments: Of the workflow, JSON.
        execution_timeout_seconds: Bound of one execution.
        catchup_seconds: A firing that was missed by less is made up for.
        trigger_at_boot: Fire once when it is first made.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(min_length=1)]
    workflow: Annotated[str, Field(min_length=1)]
    queue: str
    every_seconds: Annotated[float, Field(ge=1, le=_LONGEST_SECONDS)] | None = None
    cron: str | None = None
    timezone: str = "UTC"
    arguments: Sequence[Any] = ()
    execution_timeout_seconds: Annotated[float, Field(gt=0, le=_LONGEST_SECONDS)] = 600.0
    catchup_seconds: Annotated[float, Field(gt=0, le=_LONGEST_SECONDS)] = 60.0
    trigger_at_boot: bool = False

    @model_validator(mode="after")
    def _one_rhythm(self) -> DomainSchedule:
        if (self.every_seconds is None) is (self.cron is None):
            raise ValueError("give either every_seconds or cron")
        return self

    @field_validator("arguments")
    @classmethod
    def _json(cls, arguments: Sequence[Any]) -> Sequence[Any]:
        # Before the start: one that Temporal cannot be given would stop the others, too.
        try:
            json.dumps(arguments, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"must be JSON values; write a date or a time as text: {error}") from None
        return arguments

    def to_temporal(self) -> Schedule:
        """What Temporal is to do."""
        intervals = [ScheduleIntervalSpec(timedelta(seconds=self.every_seconds))] if self.every_seconds else []
        return Schedule(
            action=ScheduleActionStartWorkflow(
                self.workflow,
                args=list(self.arguments),
                id=f"scheduled:{self.id}",
                task_queue=self.queue,
                execution_timeout=timedelta(seconds=self.execution_timeout_seconds),
            ),
            spec=ScheduleSpec(
                intervals=intervals,
                cron_expressions=[self.cron] if self.cron else [],
                time_zone_name=self.timezone if self.cron else None,
            ),
            policy=SchedulePolicy(
                overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(seconds=self.catchup_seconds)
            ),
        )


@dataclass(frozen=True, slots=True)
class Schedules:
    """The file's content: what there is to be, and ids of earlier days that are to go."""

    wanted: Sequence[DomainSchedule] = ()
    retired: Sequence[str] = ()


def read_schedules(path: Path | None, queues: Sequence[str]) -> Schedules:
    """Reads the file that `TEMPORAL_SCHEDULES_FILE` names.

    Args:
        path: The file; None for none.
        queues: Queues of this process.

    Raises:
        StartRefused: `SCHEDULES_INVALID`, with everything that is wrong.
    """
    if path is None:
        return Schedules()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StartRefused.one("SCHEDULES_INVALID", _VARIABLE, f"{path} cannot be read: {error}") from None
    problems: list[StartProblem] = []
    said: list[str] = []
    given = content.get("schedule", [])
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        said.append("schedule must be tables, each under a line [[schedule]]")
        given = []
    retired = content.get("retired", [])
    if not isinstance(retired, list) or not all(isinstance(one, str) and one for one in retired):
        said.append('retired must be a list of ids, such as ["email-polling-legacy"]')
        retired = []
    found = [_parsed(number, one, queues, problems) for number, one in enumerate(given, 1)]
    wanted = [schedule for schedule in found if schedule is not None]
    ids = [schedule.id for schedule in wanted]
    said += [f"{one!r} is declared twice" for one in sorted({one for one in ids if ids.count(one) > 1})]
    said += [f"{one!r} is declared and retired" for one in sorted(set(ids) & set(retired))]
    said += [
        f"unknown table or key {one!r}; there are [[schedule]] and retired"
        for one in sorted(set(content) - {"schedule", "retired"})
    ]
    problems += [_problem(one) for one in said]
    if problems:
        raise StartRefused(problems)
    return Schedules(wanted, retired)


async def bring(client: Client, schedules: Schedules) -> Mapping[str, str]:
    """Creates, updates and deletes; each on its own.

    Returns:
        Why it failed, by id; empty when Temporal has them all.
    """
    failed: dict[str, str] = {}
    for schedule in schedules.wanted:
        try:
            await _upsert(client, schedule)
            log_event("schedule_synced", f"schedule {schedule.id} is in Temporal", level="DEBUG", schedule=schedule.id)
        except RPCError as error:
            failed[schedule.id] = f"{error.status.name}: {error.message}"
    for retired in schedules.retired:
        try:
            await client.get_schedule_handle(retired).delete()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                failed[retired] = f"{error.status.name}: {error.message}"
    return failed


def schedules_loop(client: Client, schedules: Schedules) -> Loop:
    """Brings them, and goes on with those that failed, until all are there."""

    async def run(progress: Progress) -> None:
        told: Mapping[str, str] = {}
        while True:
            failed = await bring(client, schedules)
            for schedule, reason in failed.items():
                if told.get(schedule) != reason:
                    message = f"schedule {schedule} is not in Temporal as it should be: {reason}"
                    log_event("schedule_refused", message, level="ERROR", schedule=schedule)
            told = failed
            if failed:
                progress.degraded(f"not in Temporal: {', '.join(failed)}")
            else:
                progress.mark(f"{len(schedules.wanted)} schedules are in Temporal")
            if await progress.pause(RETRY_SECONDS if failed else 10 * RETRY_SECONDS):
                return

    return Loop("schedules", run, StopStage.CLAIM, RestartBudget(restarts=None), stop_within=0)


async def _upsert(client: Client, schedule: DomainSchedule) -> None:
    made = schedule.to_temporal()
    try:
        await client.create_schedule(schedule.id, made, trigger_immediately=schedule.trigger_at_boot)
    except ScheduleAlreadyRunningError:

        def change(found: ScheduleUpdateInput) -> ScheduleUpdate:
            # Paused by an operator stays paused.
            made.state = found.description.schedule.state
            return ScheduleUpdate(made)

        await client.get_schedule_handle(schedule.id).update(change)


def _parsed(
    number: int, given: Mapping[str, Any], queues: Sequence[str], problems: list[StartProblem]
) -> DomainSchedule | None:
    named = f"schedule {given.get('id', number)!r}"
    try:
        schedule = DomainSchedule.model_validate(given)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False):
            where = ".".join(str(part) for part in detail["loc"])
            said = detail["msg"].removeprefix("Value error, ")
            problems.append(_problem(f"{named}{': ' + where if where else ''}: {said}"))
        return None
    if schedule.queue not in queues:
        problems.append(
            _problem(f"{named}: queue {schedule.queue!r} is not polled by this process, which has {', '.join(queues)}")
        )
    return schedule


def _problem(message: str) -> StartProblem:
    return StartProblem("SCHEDULES_INVALID", _VARIABLE, message)
