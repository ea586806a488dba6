"""Canonical JSON and the hash that pins a definition."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON text that depends on the value only: keys sorted, no spaces, whole numbers without a fraction.

    A value that went through PostgreSQL's `jsonb` gives the same text.

    Raises:
        ValueError: Not a JSON value (NaN, infinity).
        TypeError: Not a JSON value (another type, a key that is no string).
    """
    return json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def definition_hash(document: Any) -> str:
    """SHA-256 of the canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"a JSON object's key must be a string, not {key!r}")
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        # By way of the shortest decimal, as jsonb does: int(1e23) would be 99999999999999991611392.
        return int(Decimal(repr(value)))
    return value
