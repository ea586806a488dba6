"""What people see of values."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from workflows_cli.output import table
from workflows_cli.session import UTC_TIME

ELSEWHERE = timezone(timedelta(hours=5, minutes=45))


def test_times_are_told_in_utc_and_with_the_zone_as_options_take_them() -> None:
    moment = datetime(2026, 11, 30, 3, 15, 7, tzinfo=ELSEWHERE)
    shown = table([{"at": moment, "next": [moment]}], ("at", "next")).splitlines()[1].split()
    assert shown == ["2026-11-29T21:30:07Z", "2026-11-29T21:30:07Z"]
    assert UTC_TIME.convert(shown[0], None, None) == moment
