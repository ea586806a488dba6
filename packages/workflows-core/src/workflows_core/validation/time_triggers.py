"""Triggers by the clock: whether their times, cron expressions and zones are good ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from zoneinfo import available_timezones

from workflows_core.definitions.model import RecurringTrigger, ScheduleTrigger
from workflows_core.definitions.spelling import nearest
from workflows_core.errors import Problem

MAX_CRON_LENGTH = 128
MIN_INTERVAL_MINUTES = 5
MAX_YEAR = 2100

# Sunday is 0 or 7.
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""Days of each month, in a leap year."""

_PART = re.compile(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?")


def time_trigger_problems(trigger: ScheduleTrigger | RecurringTrigger, now: datetime) -> Iterator[Problem]:
    """Everything wrong with when a trigger starts runs; `now` is what a time has to lie after."""
    if isinstance(trigger, ScheduleTrigger):
        yield from _run_at_problems(trigger.run_at, now)
        return
    fault = cron_fault(trigger.cron)
    if fault is not None:
        yield Problem("TIME_TRIGGER_INVALID_CRON", fault, "trigger.cron")
    zones = available_timezones()
    # A machine without a time zone database cannot tell; what executes the schedule will.
    if zones and trigger.timezone not in zones:
        message = f"{trigger.timezone!r} is no IANA time zone; write one, such as Europe/Berlin or UTC"
        suggestion = nearest(trigger.timezone, zones)
        yield Problem("TIME_TRIGGER_INVALID_TIMEZONE", message, "trigger.timezone", suggestion=suggestion)


def cron_fault(cron: str) -> str | None:
    """What is wrong with a cron expression, in a sentence; None when it is a good one."""
    text = cron.strip()
    if len(text) > MAX_CRON_LENGTH:
        return f"has {len(text)} characters, at most {MAX_CRON_LENGTH}"
    parts = text.split()
    if len(parts) != len(_FIELDS):
        names = ", ".join(name for name, _, _ in _FIELDS)
        return f"has {len(parts)} fields; it needs five: {names}"
    wrong = sorted(set("".join(parts)) - set("0123456789*/,-"))
    if wrong:
        return f"holds {' '.join(wrong)!r}; it may hold digits and * / , - only, and no names such as MON"
    values: list[set[int]] = []
    for (name, low, high), part in zip(_FIELDS, parts, strict=True):
        found = _values(part, low, high)
        if found is None:
            return f"the {name} is {part!r}; it takes *, numbers from {low} to {high}, ranges a-b, steps /n, and commas"
        values.append(found)
    if parts[2] != "*" and parts[4] != "*":
        return f"sets both day of month ({parts[2]}) and day of week ({parts[4]}); one of them has to be *"
    if not any(day <= _LONGEST[month - 1] for day in values[2] for month in values[3]):
        return f"never starts a run: no month of {parts[3]!r} has a day {parts[2]!r}"
    if _is_every_hour(values) and _closest(values[0]) < MIN_INTERVAL_MINUTES:
        return (
            f"starts runs more often than every {MIN_INTERVAL_MINUTES} minutes (minute {parts[0]!r} of every hour);"
            f" write */{MIN_INTERVAL_MINUTES} or rarer, or limit the other fields"
        )
    return None


def names_every_hour(cron: str) -> bool:
    """Whether a good cron expression has every hour, in whichever way it is written (`*`, `*/1`, `0-23`)."""
    return _numbers(cron)[1] == {*range(24)}


def cron_names(cron: str, wall: datetime) -> bool:
    """Whether a good cron expression names this minute of the clock on the wall."""
    minutes, hours, days, months, weekdays = _numbers(cron)
    return (
        wall.second == wall.microsecond == 0
        and wall.minute in minutes
        and wall.hour in hours
        and wall.day in days
        and wall.month in months
        and wall.isoweekday() % 7 in {day % 7 for day in weekdays}
    )


def _numbers(cron: str) -> list[set[int]]:
    """The numbers that each field of a good cron expression stands for."""
    parts = zip(_FIELDS, cron.split(), strict=True)
    return [_values(part, low, high) or set() for (_, low, high), part in parts]


def _run_at_problems(run_at: str, now: datetime) -> Iterator[Problem]:
    path, example = "trigger.runAt", "such as 2030-01-31T09:00:00Z"
    if not run_at.strip():
        yield Problem("TIME_TRIGGER_RUN_AT_REQUIRED", f"is blank; say when the run starts, {example}", path)
        return
    try:
        moment = datetime.fromisoformat(run_at.strip())
    except ValueError:
        message = f"{run_at!r:.80} is no ISO 8601 time; write one with its zone, {example}"
        yield Problem("TIME_TRIGGER_INVALID_RUN_AT", message, path)
        return
    if moment.tzinfo is None:
        message = f"{run_at!r} has no zone, so it is not one moment; write one, {example}"
        yield Problem("TIME_TRIGGER_INVALID_RUN_AT", message, path)
    elif moment.year > MAX_YEAR:
        message = f"{run_at!r} is after {MAX_YEAR}, which is as far as Temporal's schedules go"
        yield Problem("TIME_TRIGGER_INVALID_RUN_AT", message, path)
    elif moment <= now:
        message = f"{run_at!r} is over, it is {now.isoformat(timespec='seconds')} now; choose a time to come"
        yield Problem("TIME_TRIGGER_INVALID_RUN_AT", message, path)


def _values(text: str, low: int, high: int) -> set[int] | None:
    """The numbers that one field stands for; None when it is written wrongly."""
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            return None
        first, last, step = (None if group is None else int(group) for group in match.groups())
        start = low if first is None else first
        # A single number with a step counts from there to the end, as cron does.
        end = last if last is not None else high if first is None or step is not None else start
        if not low <= start <= end <= high or step == 0:
            return None
        found.update(range(start, end + 1, step or 1))
    return found


def _is_every_hour(values: Sequence[set[int]]) -> bool:
    """Whether the fields behind the minute leave no hour out, in whichever way they are written."""
    _, *others, weekdays = values
    whole = [set(range(low, high + 1)) for _, low, high in _FIELDS[1:4]]
    return others == whole and len({day % 7 for day in weekdays}) == 7


def _closest(minutes: set[int]) -> int:
    """The fewest minutes between two starts within an hour; from hour to hour */7 may come closer and is meant so."""
    ordered = sorted(minutes)
    return min((b - a for a, b in pairwise(ordered)), default=60)
