"""The functions an authored expression may call; docs/language.md lists them, a test holds both equal."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from decimal import Decimal
from typing import Any

from workflows_core.expressions.engine import Limits
from workflows_core.expressions.identity import identity

CUSTOM_FUNCTIONS = ("nowIso", "coalesce", "len", "toString", "append")
"""The original's five, callable with and without `$`."""

BUILT_IN_FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "text": (
        "string",
        "length",
        "substring",
        "substringBefore",
        "substringAfter",
        "uppercase",
        "lowercase",
        "trim",
        "pad",
        "contains",
        "split",
        "join",
        "match",
        "replace",
        "base64encode",
        "base64decode",
        "encodeUrl",
        "encodeUrlComponent",
        "decodeUrl",
        "decodeUrlComponent",
    ),
    "numbers": (
        "number",
        "abs",
        "floor",
        "ceil",
        "round",
        "power",
        "sqrt",
        "sum",
        "max",
        "min",
        "average",
        "formatNumber",
        "formatBase",
        "formatInteger",
        "parseInteger",
    ),
    "lists": ("count", "sort", "reverse", "distinct", "zip"),
    "objects": ("keys", "lookup", "spread", "merge", "each", "sift"),
    "functions over lists": ("map", "filter", "single", "reduce"),
    "truth and type": ("boolean", "not", "exists", "type"),
    "failing on purpose": ("error", "assert"),
    "bound to the run's time": ("now", "millis", "fromMillis", "toMillis"),
    "bound to the run's seed": ("random", "shuffle"),
}
"""JSONata's built-ins that are allowed, by topic. `append` is the custom one."""

ALLOWED_FUNCTIONS = frozenset(CUSTOM_FUNCTIONS) | {name for group in BUILT_IN_FUNCTIONS.values() for name in group}

REFUSED_FUNCTIONS = ("eval",)
"""The engine's built-ins that are replaced by one that fails: code from data cannot be checked at publish."""

MEASURING_FUNCTION = "_made"
"""Name of the function that `made_values` puts into a source."""

RANGE_FUNCTION = "_range"
"""Name of the function that `made_values` puts in the place of a range."""

_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # Made once: making it takes longer than using.
MAX_ITEMS = Limits().max_array_length
"""Of a list that an expression makes."""

_MOST_MADE = 10_000_000
"""Items of a range that the engine makes, to find then that they are too many."""

_FEW = 64
"""Items or names among which the engine finds the distinct ones at once."""

_NULL = float("nan")
# The engine takes a host function's None for "no value" and, like JSON.stringify, NaN for null.


def coalesce(*values: Any) -> Any:
    """The first value that is not null, else null."""
    for value in values:
        if value is not None:
            return value
    return _NULL


def length(value: Any = None) -> int:
    """Number of characters (code points) or items, 0 for anything else."""
    return len(value) if isinstance(value, (str, list)) else 0


def to_string(value: Any = None) -> str:
    """JavaScript's text of a value, '' for null; an object is JSON text (the original gave `[object Object]`)."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number_text(value)
    if isinstance(value, list):
        return ",".join(to_string(item) for item in value)
    if isinstance(value, dict):
        return _COMPACT.encode(value)
    return ""


def append(items: Any = None, value: Any = None) -> list[Any]:
    """The list (a single value becomes one, null an empty one) followed by the value, a list's items one by one."""
    start = items if isinstance(items, list) else [] if items is None else [items]
    return [*start, *(value if isinstance(value, list) else [value])]


def unique(items: Any = None) -> Any:
    """The distinct items of a long list in order; False where `$distinct` itself is quick, or alone knows its result.

    That is a short list, and one whose items are all the same: only the engine knows whether one is still a list then.
    """
    if not isinstance(items, list) or len(items) <= _FEW:
        return False
    found: dict[Hashable, Any] = {}
    for item in items:
        found.setdefault(identity(item), item)
    return [*found.values()] if len(found) > 1 else False


def names(value: Any = None) -> Any:
    """The names of many fields of an object, or of the objects in a list; False where `$keys` itself is quick."""
    objects = value if isinstance(value, list) else [value]
    found = dict.fromkeys(name for one in objects if isinstance(one, dict) for name in one)
    return [*found] if len(found) > _FEW else False


def made(*_: Any) -> bool:
    """Takes a value that was made; one that is too long the engine does not give away."""
    return True


class LongRange(Exception):
    """A range has more items than any list of an expression."""


def range_of(first: Any = None, last: Any = None) -> list[int]:
    """The items of a range that is no longer than a list may be; of what is no range the engine tells itself.

    Raises:
        LongRange: It is longer.
        ValueError: An end is no whole number, or it is so long that the engine refuses it before it is made.
    """
    for end in (first, last):
        if isinstance(end, bool) or not isinstance(end, (int, float)) or end != int(end):
            raise ValueError("an end of the range is no whole number")
    items = last - first + 1
    if items > _MOST_MADE:
        raise ValueError("the engine does not begin with it")
    if items > MAX_ITEMS:
        raise LongRange
    return list(range(int(first), int(last) + 1))


def refuse(*_: Any) -> Any:
    """Stands in for a refused built-in, should a source reach one in a way that no check foresaw."""
    raise PermissionError("the function is not allowed in expressions")


HOST_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "coalesce": coalesce,
    "len": length,
    "toString": to_string,
    "append": append,
    "_unique": unique,
    "_names": names,
    MEASURING_FUNCTION: made,
    RANGE_FUNCTION: range_of,
}
"""Implementations given to the engine. `nowIso` is the engine's `now` under another name."""


def _number_text(value: float) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(Decimal(repr(value)))
    if 1e-6 <= abs(value) < 1e21 or value == 0:
        return format(Decimal(repr(value)), "f")
    mantissa, exponent = f"{Decimal(repr(float(value))).normalize():e}".split("e")
    return f"{mantissa}e{int(exponent):+d}"
