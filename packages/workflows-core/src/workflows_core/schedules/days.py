"""Which days a schedule fires on: business days of a calendar, the others, or all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from business_calendar.calendar import WEEKDAYS, BusinessCalendar
from business_calendar.hours import WorkingHours, overlapping
from workflows_core.definitions.walk import field_path
from workflows_core.errors import Problem, Refused
from workflows_core.storage.schedules import CalendarRow, DayTypeFilter
from workflows_core.wire.text import UNSTORABLE

_FIELDS = ("name", "timezone", "hours", "holidays", "default")
_MAX_NAME = 200
_NAME = f"1 to {_MAX_NAME} characters, no U+0000 and no half of a surrogate pair"
_EXAMPLE = '[["09:00", "17:00"]]'
_DATES = "YYYY-MM-DD, or MM-DD for every year"
_TIME = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d)?")
_DATE = re.compile(r"(?:\d{4}-)?\d\d-\d\d")


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

    def first_admitted(self, instant: datetime, until: datetime) -> datetime | None:
        """That instant, or when the next day begins that the schedule fires on; None if none does before `until`."""
        while instant < until and self.calendar is not None and not self.admits(instant):
            day = instant.astimezone(self.calendar.zone).date() + timedelta(days=1)
            instant = datetime.combine(day, time.min, self.calendar.zone).astimezone(UTC)
        return instant if instant < until else None


def day_filter(kind: DayTypeFilter, row: CalendarRow | None) -> DayFilter:
    """The filter by a stored calendar.

    Raises:
        Refused: `BUSINESS_HOURS_SCHEDULE_REQUIRED`: it needs a calendar, and there is none.
    """
    if kind == "any":
        return DayFilter(kind, None)
    if row is None:
        message = (
            f"fires on {kind.replace('_', '-')} days, and there is no default calendar that says which those are: "
            'import one with "default": true, with `workflows calendars import FILE`'
        )
        raise Refused.one("BUSINESS_HOURS_SCHEDULE_REQUIRED", message, "dayTypeFilter")
    return DayFilter(kind, calendar_of(row), frozenset(text for text in row.holidays if len(text) == len("MM-DD")))


def calendar_of(row: CalendarRow) -> BusinessCalendar:
    """The calendar of a stored row.

    Raises:
        ValueError: What is wrong with it, in a sentence.
    """
    hours = {day: [_stretch(begins, ends) for begins, ends in stretches] for day, stretches in row.hours.items()}
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
    problems = [
        Problem("CALENDAR_INVALID", message, where)
        for calendar_id, entry in document.items()
        for where, message in _calendar_problems(str(calendar_id), entry)
    ]
    defaults = [str(one) for one, entry in document.items() if isinstance(entry, Mapping) and entry.get("default")]
    if len(defaults) > 1:
        problems.append(Problem("CALENDAR_INVALID", f"only one calendar can be the default, not {', '.join(defaults)}"))
    if problems:
        raise Refused(problems)
    return [_row(str(calendar_id), entry) for calendar_id, entry in document.items()]


def _row(calendar_id: str, entry: Mapping[str, Any]) -> CalendarRow:
    return CalendarRow(
        schedule_id=calendar_id,
        name=entry.get("name", calendar_id),
        timezone=entry["timezone"],
        hours={day: [list(stretch) for stretch in stretches] for day, stretches in entry["hours"].items()},
        holidays=list(entry.get("holidays", [])),
        is_default=entry.get("default", False),
    )


def _calendar_problems(calendar_id: str, entry: Any) -> Iterator[tuple[str, str]]:
    if not _is_name(calendar_id):
        yield "", f"{calendar_id!r:.80} is no id of a calendar: {_NAME}"
        return
    yield from _entry_problems(field_path("", calendar_id).removeprefix("."), entry)


def _is_name(text: Any) -> bool:
    return isinstance(text, str) and 0 < len(text.strip()) <= _MAX_NAME and UNSTORABLE.search(text) is None


def _entry_problems(where: str, entry: Any) -> Iterator[tuple[str, str]]:
    """Everything that is wrong with one calendar: where, and what."""
    if not isinstance(entry, Mapping):
        yield where, "must be an object"
        return
    for name in entry:
        if name not in _FIELDS:
            yield field_path(where, name), f"is no field of a calendar; there are {', '.join(_FIELDS)}"
    if "name" in entry and not _is_name(entry["name"]):
        yield f"{where}.name", f"must be a text: {_NAME}"
    if not isinstance(entry.get("default", False), bool):
        yield f"{where}.default", "must be true or false"
    zone = entry.get("timezone")
    if not isinstance(zone, str) or not _is_zone(zone):
        yield f"{where}.timezone", f"must be an IANA time zone such as Europe/Berlin; this is {zone!r:.80}"
    yield from _hours_problems(f"{where}.hours", entry.get("hours"))
    yield from _holiday_problems(f"{where}.holidays", entry.get("holidays", []))


def _hours_problems(where: str, hours: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(hours, Mapping):
        yield where, f"must be an object from {', '.join(WEEKDAYS)} to {_EXAMPLE}"
        return
    for day, stretches in hours.items():
        yield from _day_problems(field_path(where, day), day, stretches)


def _holiday_problems(where: str, holidays: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(holidays, list):
        yield where, f"must be a list of dates, {_DATES}"
        return
    for index, day in enumerate(holidays):
        if not isinstance(day, str) or not _is_date(day):
            yield f"{where}[{index}]", f"must be a day that there is, {_DATES}; this is {day!r:.80}"


def _day_problems(where: str, day: str, stretches: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with the hours of one weekday."""
    if day not in WEEKDAYS:
        yield where, f"is no weekday; they are {', '.join(WEEKDAYS)}"
    if not isinstance(stretches, list):
        yield where, f"must be a list of stretches, such as {_EXAMPLE}"
        return
    hours = []
    for index, stretch in enumerate(stretches):
        place = f"{where}[{index}]"
        if not isinstance(stretch, list) or len(stretch) != 2:
            yield place, 'must be when work begins and ends, such as ["09:00", "17:00"]'
            continue
        wrong = [part for part, text in enumerate(stretch) if not isinstance(text, str) or not _TIME.fullmatch(text)]
        for part in wrong:
            yield f"{place}[{part}]", f"must be a time such as 09:00; this is {stretch[part]!r:.80}"
        if not wrong:
            try:
                hours.append(_stretch(*stretch))
            except ValueError as error:
                yield place, str(error)
    for one, other in overlapping(hours):
        yield where, f"{one} overlaps {other}"


def _stretch(begins: str, ends: str) -> WorkingHours:
    return WorkingHours(time.fromisoformat(begins), time.fromisoformat(ends))


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        # A leap year, so that 29 February is a day.
        date.fromisoformat(f"2024-{text}" if len(text) == len("MM-DD") else text)
    except ValueError:
        return False
    return True
