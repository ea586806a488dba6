"""What an expression reads, and cutting a document down to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Read = bool | Mapping[str, Any]
"""As `jlens` gives it: True for a whole value, else the fields of it that are read, each with its own `Read`."""

Cutter = tuple[tuple[str, int, "Cutter"], ...] | None
"""The fields that are read, each with the bytes that its name adds and its own `Cutter`; None for a whole value."""

_JSON = json.JSONEncoder(default=dict)  # Made once: making it takes longer than using it on what is usual.

_BRACKETS = len("{}")
_BETWEEN_ITEMS = len(", ")  # The brackets are as long as the comma that the last item has not.
_BETWEEN_MEMBERS = len(": ") + len(", ")

_NESTING = frozenset({dict, list})

EVERYTHING = "*"
"""Stands for the whole document among dotted paths."""


def dotted(read: Read) -> frozenset[str]:
    """Paths such as `payload.ticket.id`; `EVERYTHING` alone for the whole document."""
    return frozenset(_dotted("", read)) if isinstance(read, Mapping) else frozenset({EVERYTHING})


def _dotted(prefix: str, read: Read) -> list[str]:
    if not isinstance(read, Mapping) or not read:
        return [prefix] if prefix else []
    return [path for key, nested in read.items() for path in _dotted(f"{prefix}.{key}" if prefix else key, nested)]


def cutter_of(read: Read) -> Cutter:
    """What `cut` needs to know, made once for each expression."""
    if not isinstance(read, Mapping):
        return None
    return tuple((key, json_bytes(key) + _BETWEEN_MEMBERS, cutter_of(nested)) for key, nested in read.items())


def cut(value: Any, cutter: Cutter) -> tuple[Any, int]:
    """A copy of the value with only what is read, and its `json_bytes`; whole parts are shared with the value."""
    if cutter is None:
        return value, json_bytes(value)
    # Both in one pass, and what a value is nearly always first: this is done for every expression of every step.
    size = 0
    if isinstance(value, dict) or isinstance(value, Mapping):  # noqa: SIM101
        members = {}
        for key, key_bytes, nested in cutter:
            if key in value:
                found = value[key]
                if nested is None:
                    members[key], added = found, json_bytes(found)
                else:
                    members[key], added = cut(found, nested)
                size += key_bytes + added
        return members, size or _BRACKETS
    if isinstance(value, (list, tuple)):
        items = []
        for item in value:
            found, added = cut(item, cutter)
            items.append(found)
            size += added + _BETWEEN_ITEMS
        return items, size or _BRACKETS
    return value, json_bytes(value)


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


def nests_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects stand in one another on more levels than so many."""
    level = [value] if type(value) in _NESTING else []
    for _ in range(levels):
        if not level:
            return False
        inner = [node.values() if isinstance(node, dict) else node for node in level]
        level = [part for parts in inner for part in parts if type(part) in _NESTING]
    return bool(level)


def json_bytes(value: Any) -> int:
    """Bytes of a value as JSON, in ASCII, as `json.dumps` writes it."""
    # What most values are, first: the encoder sets itself up anew for all but texts.
    if value is True or value is None:
        return 4
    if type(value) is int:
        return len(int.__repr__(value))
    return len(as_json(value))


def as_json(value: Any) -> str:
    """A value as JSON, in ASCII, as `json.dumps` writes it."""
    return _JSON.encode(value)
