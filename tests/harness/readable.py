"""Errors in variables, as the reference evaluator has them."""

from __future__ import annotations

from typing import Any


def readable(value: Any) -> Any:
    """An error is its category; an item's error the pair of index and category."""
    if isinstance(value, dict):
        if "category" in value:
            return value["category"]
        if set(value) == {"index", "error"}:
            return [value["index"], value["error"]["category"]]
        return {key: readable(nested) for key, nested in value.items()}
    return [readable(nested) for nested in value] if isinstance(value, list) else value
