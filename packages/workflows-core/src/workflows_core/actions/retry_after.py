"""When a server that refuses wants to be asked again."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after_ms(text: str, now: datetime) -> int | None:
    """A `Retry-After` as milliseconds from now, 0 for what has passed; None when it is neither seconds nor a date."""
    text = text.strip()
    if text.isdecimal() and len(text) <= 9:
        return int(text) * 1000
    try:
        then = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0, int((then - now).total_seconds() * 1000))
