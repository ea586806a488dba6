"""When two JSON values are the same, as something that can be looked up."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any


def identity(value: Any) -> Hashable:
    """Equal for values that are equal in JSON: true is not 1, and the order of fields does not matter."""
    if isinstance(value, bool):
        return bool, value
    if isinstance(value, list):
        return list, tuple(identity(item) for item in value)
    if isinstance(value, dict):
        return dict, frozenset((name, identity(item)) for name, item in value.items())
    return value if isinstance(value, Hashable) else id(value)
