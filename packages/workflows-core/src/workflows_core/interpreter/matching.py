"""Does this event resolve this wait? One predicate for router, look-back and the run itself.

Name, key and filters are decided here; whether the wait is open, the event inside its window and not
consumed by an earlier wait of the run is known to the caller only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workflows_core.wire.records import FilterRecord, WaitRecord

ORDERING = (">", ">=", "<", "<=")
"""Operators between two numbers or two texts."""

_MISSING = object()

_SHOWN = 200
"""Characters of a value that an explanation quotes."""


@dataclass(frozen=True, slots=True)
class EventFacts:
    """What matching needs of an event; `keys` are its correlation keys in order."""

    event_id: str
    event_name: str
    keys: tuple[str, ...]
    payload: Any


def matches(event: EventFacts, wait: WaitRecord) -> bool:
    """True when name, key and every filter agree."""
    return mismatch(event, wait) is None


def mismatch(event: EventFacts, wait: WaitRecord) -> str | None:
    """None when the event matches, else the first reason why not, as a sentence for operators."""
    if event.event_name != wait["event_name"]:
        return f"the wait is for event {wait['event_name']!r}, this is {event.event_name!r}"
    if wait["key"] is None:
        return "the wait has no correlation key, so no event can match it"
    if wait["key"] not in event.keys:
        return f"the wait's key is {wait['key']!r}, the event has {list(event.keys)!r}"
    for item in wait["filters"]:
        found = _lookup(event.payload, item["path"])
        if not _OPERATORS[item["op"]](found, item["value"]):
            wanted = (
                f"{item['op']} {_shown(item['value'])}" if item["op"] not in ("exists", "not_exists") else item["op"]
            )
            has = "nothing" if found is _MISSING else _shown(found)
            return f"filter {item['path']} {wanted} does not hold: the event has {has}"
    return None


def _shown(value: Any) -> str:
    """As authors write it; of a large value the beginning."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def filter_problem(item: FilterRecord) -> str | None:
    """What is wrong with a filter's value for its operator, or None."""
    op, value = item["op"], item["value"]
    if op not in _OPERATORS:
        return f"unknown operator {op!r}; one of {', '.join(_OPERATORS)}"
    if op in ("in", "not_in"):
        return None if isinstance(value, list) else f"operator {op!r} needs a list"
    if op in ("exists", "not_exists"):
        return None
    if op in ("contains", "starts_with", "ends_with"):
        return None if isinstance(value, str) else f"operator {op!r} needs a string"
    return None if not isinstance(value, (list, dict)) else f"operator {op!r} needs a string, number, boolean or null"


def _lookup(payload: Any, path: str) -> Any:
    found = payload
    for segment in path.removeprefix("$.").split("."):
        if isinstance(found, Mapping) and segment in found:
            found = found[segment]
        # Not every digit of Unicode is a number to `int`, and none takes a text of thousands.
        elif isinstance(found, list) and segment.isdecimal() and len(segment) < 10 and int(segment) < len(found):
            found = found[int(segment)]
        else:
            return _MISSING
    return found


def same(left: Any, right: Any) -> bool:
    """Equal as JSON."""
    # In JSON, true is not 1; in Python it is.
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def _comparable(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return False
    numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
    return numbers or (isinstance(left, str) and isinstance(right, str))


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda found, value: found is not _MISSING and same(found, value),
    "!=": lambda found, value: found is _MISSING or not same(found, value),
    "in": lambda found, value: found is not _MISSING and any(same(found, item) for item in value),
    "not_in": lambda found, value: found is _MISSING or not any(same(found, item) for item in value),
    "exists": lambda found, _: found is not _MISSING,
    "not_exists": lambda found, _: found is _MISSING,
    ">": lambda found, value: _comparable(found, value) and found > value,
    ">=": lambda found, value: _comparable(found, value) and found >= value,
    "<": lambda found, value: _comparable(found, value) and found < value,
    "<=": lambda found, value: _comparable(found, value) and found <= value,
    "contains": lambda found, value: (
        value in found if isinstance(found, str) else isinstance(found, list) and any(same(i, value) for i in found)
    ),
    "starts_with": lambda found, value: isinstance(found, str) and found.startswith(value),
    "ends_with": lambda found, value: isinstance(found, str) and found.endswith(value),
}
"""A missing path satisfies `!=`, `not_in` and `not_exists` only; order is by number or by string."""
