"""Which instants a day filter admits, and which calendars are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workflows_core.errors import Refused
from workflows_core.schedules.days import day_filter, read_calendars
from workflows_core.storage.schedules import CalendarRow, DayTypeFilter

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
WORK = [["09:00", "17:00"]]
WEEK = dict.fromkeys(("monday", "tuesday", "wednesday", "thursday", "friday"), WORK)


def calendar(zone: str = "Europe/Berlin", holidays: tuple[str, ...] = ()) -> CalendarRow:
    document = {"c": {"timezone": zone, "hours": WEEK, "holidays": list(holidays), "default": True}}
    (row,) = read_calendars(document)
    return row


@given(
    st.integers(0, 3 * 365 * 24 * 60).map(
        lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    ),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "UTC"]),
)
# A Friday and a Monday, which so few instants rarely hit.
@example(datetime(2026, 12, 25, 12, tzinfo=UTC), "UTC")
@example(datetime(2027, 5, 17, 12, tzinfo=UTC), "UTC")
def test_a_day_is_that_of_the_calendars_zone(instant: datetime, zone: str) -> None:
    row = calendar(zone, ("12-25", "2027-05-17"))
    local = instant.astimezone(ZoneInfo(zone))
    off = (local.month, local.day) == (12, 25) or (local.year, local.month, local.day) == (2027, 5, 17)
    works = local.weekday() < 5 and not off
    assert day_filter("business", row).admits(instant) is works
    assert day_filter("non_business", row).admits(instant) is not works
    assert day_filter("any", None).admits(instant)


@given(
    st.integers(0, 3 * 365 * 24 * 60).map(lambda minutes: BEGIN + timedelta(minutes=minutes)),
    st.sampled_from(["Europe/Berlin", "America/Santiago", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "UTC"]),
    st.sampled_from(["business", "non_business"]),
    st.integers(1, 6 * 24 * 60),
)
def test_the_first_admitted_instant_is_found_as_by_looking_at_each_minute(
    instant: datetime, zone: str, kind: DayTypeFilter, minutes: int
) -> None:
    days = day_filter(kind, calendar(zone, ("12-25", "12-26", "2027-05-17")))
    each = (instant + timedelta(minutes=minute) for minute in range(minutes))
    assert days.first_admitted(instant, instant + timedelta(minutes=minutes)) == next(filter(days.admits, each), None)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_both_changes_of_the_clock_move_no_day(zone: str) -> None:
    instant = datetime(2026, 1, 1, tzinfo=UTC)
    row = calendar(zone)
    while instant.year == 2026:
        local = instant.astimezone(ZoneInfo(zone))
        assert day_filter("business", row).admits(instant) is (local.weekday() < 5)
        instant += timedelta(minutes=30)


def test_a_filter_needs_a_calendar() -> None:
    with pytest.raises(Refused, match="BUSINESS_HOURS_SCHEDULE_REQUIRED"):
        day_filter("business", None)


@pytest.mark.parametrize(
    ("entry", "path", "said"),
    [
        ([], "", "must be an object"),
        ({"timezone": "UTC", "hours": WEEK, "holiday": []}, ".holiday", "is no field"),
        ({"timezone": "UTC", "hours": WEEK, "name": 7}, ".name", "a text"),
        ({"timezone": "UTC", "hours": WEEK, "default": "no"}, ".default", "true or false"),
        ({"timezone": "Europe/Berln", "hours": WEEK}, ".timezone", "IANA time zone such as Europe/Berlin"),
        ({"hours": WEEK}, ".timezone", "this is None"),
        ({"timezone": "UTC"}, ".hours", "must be an object from monday"),
        ({"timezone": "UTC", "hours": {"moonday": WORK}}, ".hours.moonday", "is no weekday"),
        ({"timezone": "UTC", "hours": {"monday": [["09:00", "17"]]}}, ".hours.monday[0][1]", "a time such as 09:00"),
        ({"timezone": "UTC", "hours": {"monday": [["17:00", "09:00"]]}}, ".hours.monday[0]", "must end after"),
        ({"timezone": "UTC", "hours": {"monday": [*WORK, ["16:00", "18:00"]]}}, ".hours.monday", "overlaps"),
        ({"timezone": "UTC", "hours": {"monday": ["09:00"]}}, ".hours.monday[0]", "when work begins and ends"),
        ({"timezone": "UTC", "hours": {"monday": "09:00"}}, ".hours.monday", "a list of stretches"),
        ({"timezone": "UTC", "hours": WEEK, "holidays": ["02-30"]}, ".holidays[0]", "a day that there is"),
        ({"timezone": "UTC", "hours": WEEK, "holidays": ["01-01", 1]}, ".holidays[1]", "a day that there is"),
        ({"timezone": "UTC", "hours": WEEK, "holidays": "01-01"}, ".holidays", "a list of dates"),
    ],
)
def test_a_calendar_that_is_wrong_says_what_is_and_where(entry: Any, path: str, said: str) -> None:
    with pytest.raises(Refused) as found:
        read_calendars({"good": {"timezone": "UTC", "hours": WEEK}, "bad": entry})
    (problem,) = found.value.problems
    assert (problem.code, problem.path) == ("CALENDAR_INVALID", f"bad{path}")
    assert said in problem.message


def test_each_stretch_that_overlaps_an_earlier_one_is_said_once() -> None:
    """Each pair was: of some thousand that are the same, millions of problems."""
    stretches = [["11:00", "12:00"], ["08:00", "18:00"], ["09:00", "10:00"], ["18:00", "19:00"]]
    with pytest.raises(Refused) as found:
        read_calendars({"a": {"timezone": "UTC", "hours": {"monday": stretches, "friday": WORK * 300}}})
    said = [problem.message for problem in found.value.problems]
    assert said[:2] == [
        f"08:00:00 to 18:00:00 overlaps {one}" for one in ("09:00:00 to 10:00:00", "11:00:00 to 12:00:00")
    ]
    assert len(said) == 2 + 299 * len(WORK)


@pytest.mark.parametrize("name", ["", "  ", "a\0b", "\ud800", "x" * 201])
def test_a_calendar_has_an_id_and_a_name_that_can_be_stored(name: str) -> None:
    """The first two were stored, the next two a traceback."""
    good = {"timezone": "UTC", "hours": WEEK}
    with pytest.raises(Refused) as found:
        read_calendars({name: good, "named": {**good, "name": name}})
    assert [(one.code, one.path) for one in found.value.problems] == [
        ("CALENDAR_INVALID", ""),
        ("CALENDAR_INVALID", "named.name"),
    ]


def test_everything_that_is_wrong_with_calendars_comes_at_once() -> None:
    hours = {"monday": [["9", "25:00"]], "moonday": WORK}
    with pytest.raises(Refused) as found:
        read_calendars(
            {
                "a": {"timezone": "Mars", "hours": hours, "holidays": ["02-30", "x"], "default": True},
                "b": {"timezone": "UTC", "hours": WEEK, "default": True},
            }
        )
    assert [problem.path for problem in found.value.problems] == [
        *("a.timezone", "a.hours.monday[0][0]", "a.hours.monday[0][1]", "a.hours.moonday"),
        *("a.holidays[0]", "a.holidays[1]", ""),
    ]
