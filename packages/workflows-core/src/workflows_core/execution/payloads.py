"""JSON in and out of Temporal without a second encoding: one `json/plain` payload, readable in its UI."""

from __future__ import annotations

import json
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from workflows_core.errors import Json
from workflows_core.wire.compact import compact_json


def encode(value: Any) -> RawValue:
    """A JSON value as a payload."""
    data = compact_json(value, allow_nan=False).encode()
    return RawValue(Payload(metadata={"encoding": b"json/plain"}, data=data))


def decode(raw: RawValue) -> Json:
    """Inverse of `encode`."""
    return json.loads(raw.payload.data)


def size_of(raw: RawValue) -> int:
    """Length of the encoded value in bytes."""
    return len(raw.payload.data)
