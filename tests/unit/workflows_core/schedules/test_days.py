"""Which instants a day filter admits, and which calendars are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows_core.errors import Refused
from workflows_core.schedules.days import day_filter, read_calendars
from workflows_core.storage.schedules import CalendarRow

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
def test_a_day_is_that_of_the_calendars_zone(instant: datetime, zone: str) -> None:
    row = calendar(zone, ("12-25", "2027-05-17"))
    local = instant.astimezone(ZoneInfo(zone))
    off = (local.month, local.day) == (12, 25) or (local.year, local.month, local.day) == (2027, 5, 17)
    works = local.weekday() < 5 and not off
    assert day_filter("business", row).admits(instant) is works
    assert day_filter("non_business", row).admits(instant) is not works
    assert day_filter("any", None).admits(instant)


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
    ("entry", "said"),
    [
        ([], "must be an object"),
        ({"timezone": "UTC", "hours": WEEK, "holiday": []}, "has no field 'holiday'"),
        ({"timezone": "Europe/Berln", "hours": WEEK}, "unknown time zone"),
        ({"timezone": "UTC", "hours": {"moonday": WORK}}, "unknown weekday"),
        ({"timezone": "UTC", "hours": {"monday": [["9", "17"]]}}, "Invalid isoformat"),
        ({"timezone": "UTC", "hours": {"monday": [["17:00", "09:00"]]}}, "must end after they begin"),
        ({"timezone": "UTC", "hours": {"monday": "09:00"}}, "hours must be an object"),
        ({"timezone": "UTC", "hours": WEEK, "holidays": ["02-30"]}, "day is out of range"),
        ({"timezone": "UTC", "hours": WEEK, "holidays": [1]}, "holidays must be a list"),
    ],
)
def test_a_calendar_that_is_wrong_says_what_is(entry: Any, said: str) -> None:
    with pytest.raises(Refused) as found:
        read_calendars({"good": {"timezone": "UTC", "hours": WEEK}, "bad": entry})
    (problem,) = found.value.problems
    assert (problem.code, problem.path) == ("CALENDAR_INVALID", "bad")
    assert said in problem.message
