"""Which days a schedule fires on: business days of a calendar, the others, or all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from business_calendar.calendar import WEEKDAYS, BusinessCalendar
from business_calendar.hours import WorkingHours
from workflows_core.errors import Problem, Refused
from workflows_core.storage.schedules import CalendarRow, DayTypeFilter


@dataclass(frozen=True, slots=True)
class DayFilter:
    """A filter with its calendar; holidays without a year are every year's."""

    kind: DayTypeFilter
    calendar: BusinessCalendar | None
    yearly: frozenset[str] = frozenset()

    def admits(self, instant: datetime) -> bool:
        """Whether the schedule fires at that instant, whose day is that of the calendar's zone."""
        if self.kind == "any" or self.calendar is None:
            return True
        day = instant.astimezone(self.calendar.zone).date()
        works = self.calendar.is_business_day(day) and day.strftime("%m-%d") not in self.yearly
        return works is (self.kind == "business")


def day_filter(kind: DayTypeFilter, row: CalendarRow | None) -> DayFilter:
    """The filter by a stored calendar.

    Raises:
        Refused: `BUSINESS_HOURS_SCHEDULE_REQUIRED`: it needs a calendar, and there is none.
    """
    if kind == "any":
        return DayFilter(kind, None)
    if row is None:
        message = (
            f"fires on {kind.replace('_', '-')} days, and there is no calendar that says which those are: "
            "import one with `workflows calendars import FILE`"
        )
        raise Refused.one("BUSINESS_HOURS_SCHEDULE_REQUIRED", message, "dayTypeFilter")
    return DayFilter(kind, calendar_of(row), frozenset(text for text in row.holidays if len(text) == len("MM-DD")))


def calendar_of(row: CalendarRow) -> BusinessCalendar:
    """The calendar of a stored row.

    Raises:
        ValueError: What is wrong with it, in a sentence.
    """
    hours = {
        day: [WorkingHours(time.fromisoformat(begins), time.fromisoformat(ends)) for begins, ends in stretches]
        for day, stretches in row.hours.items()
    }
    return BusinessCalendar.of(
        row.timezone, hours, [date.fromisoformat(text) for text in row.holidays if len(text) > len("MM-DD")]
    )


def read_calendars(document: Any) -> list[CalendarRow]:
    """Calendars of a document, an object from id to `{name, timezone, hours, holidays?, default?}`.

    Raises:
        Refused: `CALENDAR_INVALID`, everything that is wrong.
    """
    if not isinstance(document, Mapping) or not document:
        message = "must be an object from a calendar's id to its name, timezone, hours and holidays"
        raise Refused.one("CALENDAR_INVALID", message)
    problems: list[Problem] = []
    found: list[CalendarRow] = []
    for calendar_id, entry in document.items():
        try:
            found.append(_calendar(str(calendar_id), entry))
        except ValueError as error:
            problems.append(Problem("CALENDAR_INVALID", str(error), str(calendar_id)))
    if sum(row.is_default for row in found) > 1:
        problems.append(Problem("CALENDAR_INVALID", "only one calendar can be the default"))
    if problems:
        raise Refused(problems)
    return found


def _calendar(calendar_id: str, entry: Any) -> CalendarRow:
    if not isinstance(entry, Mapping):
        raise ValueError("must be an object")
    unknown = sorted(set(entry) - {"name", "timezone", "hours", "holidays", "default"})
    if unknown:
        raise ValueError(f"has no field {unknown[0]!r}; there are name, timezone, hours, holidays and default")
    hours, holidays = entry.get("hours"), entry.get("holidays", [])
    if not isinstance(hours, Mapping) or not all(_are_stretches(one) for one in hours.values()):
        raise ValueError(f'hours must be an object from {", ".join(WEEKDAYS)} to [["09:00", "17:00"]]')
    if not isinstance(holidays, list) or not all(isinstance(day, str) for day in holidays):
        raise ValueError("holidays must be a list of dates, YYYY-MM-DD, or MM-DD for every year")
    row = CalendarRow(
        schedule_id=calendar_id,
        name=str(entry.get("name", calendar_id)),
        timezone=str(entry.get("timezone", "")),
        hours={str(day): [list(stretch) for stretch in stretches] for day, stretches in hours.items()},
        holidays=list(holidays),
        is_default=entry.get("default") is True,
    )
    for text in row.holidays:
        # A leap year, so that 29 February is a day.
        date.fromisoformat(f"2024-{text}" if len(text) == len("MM-DD") else text)
    calendar_of(row)
    return row


def _are_stretches(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(stretch, list) and [type(part) for part in stretch] == [str, str] for stretch in value
    )
