"""What an expression reads, and cutting a document down to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Read = bool | Mapping[str, Any]
"""As `jlens` gives it: True for a whole value, else the fields of it that are read, each with its own `Read`."""


_JSON = json.JSONEncoder(default=dict)  # Made once: making it takes longer than using it on what is usual.

EVERYTHING = "*"
"""Stands for the whole document among dotted paths."""


def dotted(read: Read) -> frozenset[str]:
    """Paths such as `payload.ticket.id`; `EVERYTHING` alone for the whole document."""
    return frozenset(_dotted("", read)) if isinstance(read, Mapping) else frozenset({EVERYTHING})


def _dotted(prefix: str, read: Read) -> list[str]:
    if not isinstance(read, Mapping) or not read:
        return [prefix] if prefix else []
    return [path for key, nested in read.items() for path in _dotted(f"{prefix}.{key}" if prefix else key, nested)]


def cut(value: Any, read: Read) -> Any:
    """A copy of the value with only what is read; whole parts are shared with it."""
    if read is True or not isinstance(read, Mapping):
        return value
    # What it is nearly always, first: to ask for the abstract type takes longer than the cut.
    if isinstance(value, dict) or isinstance(value, Mapping):  # noqa: SIM101
        return {key: cut(value[key], nested) for key, nested in read.items() if key in value}
    if isinstance(value, (list, tuple)):
        return [cut(item, read) for item in value]
    return value


def longest_text(value: Any) -> int:
    """Bytes of the longest text in a value, in UTF-8 or more."""
    longest, pending = 0, [value]
    while pending:
        found = pending.pop()
        if isinstance(found, str):
            longest = max(longest, len(found) if found.isascii() else 4 * len(found))
        elif isinstance(found, Mapping):
            pending.extend(found.values())
        elif isinstance(found, (list, tuple)):
            pending.extend(found)
    return longest


def json_bytes(value: Any) -> int:
    """Bytes of a value as JSON, in ASCII."""
    return len(_JSON.encode(value))
