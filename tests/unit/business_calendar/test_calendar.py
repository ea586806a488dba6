"""Business days and working time, also where the clock changes."""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from business_calendar.calendar import WEEKDAYS, BusinessCalendar
from business_calendar.hours import WorkingHours, overlapping

BERLIN = ZoneInfo("Europe/Berlin")
# Zones whose clock changes: by an hour, by half an hour, at midnight, and one that once skipped a whole day.
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia", "UTC"]
NIGHT = WorkingHours(time(1, 30), time(3, 30))
OFFICE = (WorkingHours(time(9), time(12, 30)), WorkingHours(time(13, 30), time(18)))


def every_day(*hours: WorkingHours, zone: str = "Europe/Berlin") -> BusinessCalendar:
    return BusinessCalendar.of(zone, dict.fromkeys(WEEKDAYS, hours))


@st.composite
def day_hours(draw: st.DrawFn) -> tuple[WorkingHours, ...]:
    """Disjoint stretches of one day; the last may end at midnight."""
    marks = sorted(draw(st.sets(st.integers(0, 24 * 60), min_size=2, max_size=6)))
    pairs = list(zip(marks[0::2], marks[1::2], strict=False))
    return tuple(WorkingHours(wall(begin), wall(end % (24 * 60))) for begin, end in pairs)


def wall(minutes: int) -> time:
    return time(minutes // 60, minutes % 60)


calendars = st.builds(
    BusinessCalendar,
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    week=st.lists(st.one_of(st.just(()), day_hours()), min_size=7, max_size=7).map(tuple),
    holidays=st.frozensets(st.dates(date(2011, 12, 1), date(2018, 12, 31)), max_size=5),
)
instants = st.datetimes(datetime(2011, 12, 1), datetime(2018, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@given(
    st.lists(st.tuples(st.integers(0, 1_439), st.integers(1, 1_440)).filter(lambda two: two[0] < two[1]), max_size=8)
)
def test_each_stretch_that_overlaps_an_earlier_one_is_found(stretches: list[tuple[int, int]]) -> None:
    hours = sorted(WorkingHours(wall(begin), wall(end % 1_440)) for begin, end in stretches)
    found = list(overlapping(reversed(hours)))
    assert all(one.overlaps(other) for one, other in found)
    late = [other for place, other in enumerate(hours) if any(one.overlaps(other) for one in hours[:place])]
    assert [other for _, other in found] == late


def test_a_day_of_many_stretches_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each was held against each other one: a day of some thousand stretches took minutes.
    held: list[WorkingHours] = []
    overlaps = WorkingHours.overlaps

    def counted(one: WorkingHours, other: WorkingHours) -> bool:
        held.append(one)
        return overlaps(one, other)

    monkeypatch.setattr(WorkingHours, "overlaps", counted)
    hours = [WorkingHours(wall(minute), wall(minute + 1)) for minute in range(0, 1_400, 2)]
    assert BusinessCalendar.of("UTC", {"monday": hours}).week[0] == tuple(hours)
    assert len(held) < 2 * len(hours)


@given(calendars, instants)
def test_working_time_is_what_the_wall_clock_says(calendar: BusinessCalendar, instant: datetime) -> None:
    local = instant.astimezone(calendar.zone)
    minute = local.hour * 60 + local.minute
    expected = local.date() not in calendar.holidays and any(
        hours.begins.hour * 60 + hours.begins.minute <= minute < ((hours.ends.hour * 60 + hours.ends.minute) or 24 * 60)
        for hours in calendar.week[local.weekday()]
    )
    assert calendar.is_working_time(instant) == expected


@given(calendars, instants, st.sampled_from(ZONES))
def test_an_instant_is_the_same_in_every_zone(calendar: BusinessCalendar, instant: datetime, zone: str) -> None:
    assert calendar.is_working_time(instant.astimezone(ZoneInfo(zone))) == calendar.is_working_time(instant)


@given(calendars, instants)
def test_working_time_lies_on_business_days(calendar: BusinessCalendar, instant: datetime) -> None:
    if calendar.is_working_time(instant):
        assert calendar.is_business_day(instant.astimezone(calendar.zone).date())


@given(calendars)
def test_calendars_are_values(calendar: BusinessCalendar) -> None:
    copy = pickle.loads(pickle.dumps(calendar))
    assert copy == calendar
    assert hash(copy) == hash(calendar)


def working_minutes(calendar: BusinessCalendar, day: date) -> int:
    """Minutes of work in the date, counted instant by instant."""
    begin = datetime.combine(day, time(0), calendar.zone).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=1), time(0), calendar.zone).astimezone(UTC)
    minutes = int((end - begin) / timedelta(minutes=1))
    return sum(calendar.is_working_time(begin + timedelta(minutes=n)) for n in range(minutes))


@pytest.mark.parametrize(
    ("day", "minutes"),
    [
        (date(2026, 3, 28), 120),
        (date(2026, 3, 29), 60),  # 02:00 to 03:00 does not exist
        (date(2026, 10, 25), 180),  # 02:00 to 03:00 happens twice
    ],
)
def test_a_shift_at_night_follows_the_clock(day: date, minutes: int) -> None:
    assert working_minutes(every_day(NIGHT), day) == minutes


def test_both_passes_of_a_repeated_hour_are_working_time() -> None:
    calendar = every_day(NIGHT)
    for fold in (0, 1):
        assert calendar.is_working_time(datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold))


def test_hours_include_their_beginning_and_not_their_end() -> None:
    calendar = every_day(*OFFICE)
    day = date(2026, 7, 1)
    at = {clock: calendar.is_working_time(datetime.combine(day, clock, BERLIN)) for clock in EDGES}
    assert at == EDGES


EDGES = {
    time(8, 59, 59, 999_999): False,
    time(9): True,
    time(12, 29, 59): True,
    time(12, 30): False,
    time(13, 30): True,
    time(18): False,
}


def test_midnight_ends_the_day() -> None:
    calendar = every_day(WorkingHours(time(22), time(0)))
    assert calendar.is_working_time(datetime(2026, 7, 1, 23, 59, 59, tzinfo=BERLIN))
    assert not calendar.is_working_time(datetime(2026, 7, 2, 0, 0, tzinfo=BERLIN))


def test_holidays_and_free_weekdays_are_no_business_days() -> None:
    calendar = BusinessCalendar.of("Europe/Berlin", {"monday": OFFICE}, holidays=[date(2026, 7, 6)])
    assert calendar.is_business_day(date(2026, 7, 13))
    assert not calendar.is_business_day(date(2026, 7, 6))
    assert not calendar.is_business_day(date(2026, 7, 14))
    assert not calendar.is_working_time(datetime(2026, 7, 6, 10, tzinfo=BERLIN))


def test_the_zone_decides_the_date() -> None:
    calendar = BusinessCalendar.of("Pacific/Auckland", dict.fromkeys(WEEKDAYS, OFFICE), holidays=[date(2026, 7, 2)])
    assert not calendar.is_working_time(datetime(2026, 7, 1, 22, 0, tzinfo=UTC))  # the 2nd, 10:00, over there
    assert calendar.is_working_time(datetime(2026, 6, 30, 22, 0, tzinfo=UTC))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: WorkingHours(time(9), time(9)), "must end after they begin"),
        (lambda: WorkingHours(time(22), time(6)), "split hours that run past midnight"),
        (lambda: WorkingHours(time(9, tzinfo=UTC), time(10, tzinfo=UTC)), "carry a zone"),
        (lambda: BusinessCalendar(BERLIN, ((),) * 6), "seven days"),
        (lambda: BusinessCalendar(BERLIN, (OFFICE[::-1], *((),) * 6)), "in order"),
        (lambda: every_day(OFFICE[0], WorkingHours(time(12), time(14))), "on monday, 09:00:00 to 12:30:00 overlaps"),
        (lambda: BusinessCalendar.of("Europe/Berlin", {"Monday": OFFICE}), "unknown weekday 'Monday'"),
        (lambda: BusinessCalendar.of("Europe/Bielefeld", {}), "unknown time zone 'Europe/Bielefeld'"),
        (lambda: BusinessCalendar.of("../etc/passwd", {}), "unknown time zone"),
        (lambda: every_day().is_working_time(datetime(2026, 7, 1, 10)), "has no zone"),  # noqa: DTZ001
    ],
)
def test_what_makes_no_sense_is_refused(make: object, says: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=says):
        make()


def test_an_instant_is_no_date() -> None:
    with pytest.raises(TypeError, match="takes a date"):
        every_day(*OFFICE).is_business_day(datetime(2026, 7, 1, tzinfo=UTC))


def test_a_holiday_that_would_be_none_is_refused() -> None:
    with pytest.raises(TypeError, match="holidays are dates; 2026-12-25T00:00:00"):
        BusinessCalendar.of("UTC", {"friday": OFFICE}, holidays=[datetime(2026, 12, 25, tzinfo=UTC)])
