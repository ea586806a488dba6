"""Triggers by the clock: what is refused, and why."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from workflows_core.definitions.model import RecurringTrigger, ScheduleTrigger
from workflows_core.validation.time_triggers import time_trigger_problems

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def recurring(cron: str, timezone: str = "UTC") -> list[tuple[str, str]]:
    trigger = RecurringTrigger(type="recurring", cron=cron, timezone=timezone)
    return [(found.code, found.message) for found in time_trigger_problems(trigger, NOW)]


@pytest.mark.parametrize(
    "cron",
    [
        "*/5 * * * *",
        "0 9 * * 1-5",
        "0 0 1 */3 *",
        "0 9 29 2 *",
        "0 9 31 * *",
        "0,20,40 * * * *",
        "* 9 * * *",
        " 5 4 * * 7 ",
    ],
)
def test_good_expressions(cron: str) -> None:
    assert recurring(cron) == []


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("* * * *", "has 4 fields"),
        ("0 9 * * MON", "no names such as MON"),
        ("60 * * * *", "numbers from 0 to 59"),
        ("0 9 1 * 1", "sets both day of month (1) and day of week (1)"),
        ("* * * * *", "more often than every 5 minutes"),
        ("*/4 * * * *", "more often than every 5 minutes"),
        ("0,3 * * * *", "more often than every 5 minutes"),
        ("* */1 * * *", "more often than every 5 minutes"),
        ("* 0-23 1-31 1-12 *", "more often than every 5 minutes"),
        ("0-59/2 * * * 1-7", "more often than every 5 minutes"),
        ("0 9-5 * * *", "the hour is '9-5'"),
        ("0 */0 * * *", "the hour is '*/0'"),
        ("0 9 30 2 *", "no month of '2' has a day '30'"),
        ("0 9 31 2,4-6/2 *", "never starts a run"),
        ("0" * 200 + " * * * *", "at most 128"),
    ],
)
def test_bad_expressions_say_what_the_field_takes(cron: str, said: str) -> None:
    [(code, message)] = recurring(cron)
    assert (code, said in message) == ("TIME_TRIGGER_INVALID_CRON", True), message


def test_a_zone_nobody_knows_and_a_bad_expression_are_both_said() -> None:
    codes = [code for code, _ in recurring("x", "Europe/Berln")]
    assert codes == ["TIME_TRIGGER_INVALID_CRON", "TIME_TRIGGER_INVALID_TIMEZONE"]


@pytest.mark.parametrize(
    ("run_at", "code"),
    [
        ("2026-11-25T13:00:00+00:00", None),
        ("2026-11-25T12:30:00+01:00", "TIME_TRIGGER_INVALID_RUN_AT"),
        ("2027-01-01T00:00:00", "TIME_TRIGGER_INVALID_RUN_AT"),
        ("tomorrow", "TIME_TRIGGER_INVALID_RUN_AT"),
        ("9999-01-01T00:00:00Z", "TIME_TRIGGER_INVALID_RUN_AT"),
        (" ", "TIME_TRIGGER_RUN_AT_REQUIRED"),
    ],
)
def test_a_moment_has_a_zone_and_is_to_come(run_at: str, code: str | None) -> None:
    trigger = ScheduleTrigger.model_validate({"type": "schedule", "runAt": run_at})
    assert [found.code for found in time_trigger_problems(trigger, NOW)] == ([] if code is None else [code])
