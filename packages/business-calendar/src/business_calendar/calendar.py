"""`BusinessCalendar`: when people of one place work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from business_calendar.hours import WorkingHours, overlapping

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True)
class BusinessCalendar:
    """Weekly working hours, a time zone and holidays; an immutable value that compares by content.

    Hours are wall-clock times in the zone. When the clock goes back, the repeated hour is working time both times; when
    it goes forward, the hour that does not exist is no working time because no instant lies in it.

    Attributes:
        zone: Where the wall clock hangs.
        week: Seven entries, Monday first: the hours of each day in order; an empty entry is a day off.
        holidays: Dates off, whatever the weekday.

    Raises:
        ValueError: The week has not seven days, or hours of one day overlap or are out of order.
        TypeError: A holiday is a datetime, which equals no date: the day would be a business day without a word.
    """

    zone: ZoneInfo
    week: tuple[tuple[WorkingHours, ...], ...]
    holidays: frozenset[date] = frozenset()

    def __post_init__(self) -> None:
        if len(self.week) != len(WEEKDAYS):
            raise ValueError(f"a week has seven days, Monday first; found {len(self.week)}")
        for day in self.holidays:
            if isinstance(day, datetime):
                raise TypeError(f"holidays are dates; {day.isoformat()} is a datetime")
        for name, hours in zip(WEEKDAYS, self.week, strict=True):
            for one, other in overlapping(hours):
                raise ValueError(f"on {name}, {one} overlaps {other}")
            if list(hours) != sorted(hours):
                raise ValueError(f"on {name}, the hours must be in order")

    @classmethod
    def of(
        cls, zone: str, hours: Mapping[str, Iterable[WorkingHours]], holidays: Iterable[date] = ()
    ) -> BusinessCalendar:
        """A calendar from names.

        Args:
            zone: IANA name, such as `Europe/Berlin`.
            hours: Hours by weekday (`monday` to `sunday`), in any order; a missing weekday is a day off.
            holidays: Dates off.

        Raises:
            ValueError: A weekday or the zone is unknown, or hours overlap.
            TypeError: A holiday is a datetime.
        """
        unknown = sorted(set(hours) - set(WEEKDAYS))
        if unknown:
            raise ValueError(f"unknown weekday {unknown[0]!r}; it must be one of {', '.join(WEEKDAYS)}")
        try:
            known_zone = ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"unknown time zone {zone!r}; it must be an IANA name such as Europe/Berlin") from None
        week = tuple(tuple(sorted(hours.get(day, ()))) for day in WEEKDAYS)
        return cls(known_zone, week, frozenset(holidays))

    def is_business_day(self, day: date) -> bool:
        """Whether people work at all on that date of the calendar's zone.

        Raises:
            TypeError: A datetime is given; which date it is depends on the zone.
        """
        if isinstance(day, datetime):
            raise TypeError("is_business_day takes a date; use is_working_time for an instant")
        return day not in self.holidays and bool(self.week[day.weekday()])

    def is_working_time(self, instant: datetime) -> bool:
        """Whether people work at that instant.

        Raises:
            ValueError: The instant has no zone, so it names no instant.
        """
        if instant.utcoffset() is None:
            raise ValueError(f"{instant.isoformat()} has no zone; give an aware datetime")
        local = instant.astimezone(self.zone)
        if not self.is_business_day(local.date()):
            return False
        return any(hours.contains(local.time()) for hours in self.week[local.weekday()])
