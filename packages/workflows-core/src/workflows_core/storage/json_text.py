"""JSON as PostgreSQL takes it: text without the two things that JSON allows and `jsonb` refuses."""

from __future__ import annotations

import json
import re
from typing import Any

from workflows_core.errors import Json
from workflows_core.wire.text import UNSTORABLE

_SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def json_text(value: Any) -> str:
    """Compact JSON; NUL and lone surrogates become U+FFFD, so that no value can wedge a write.

    Raises:
        ValueError: NaN or an infinity, which JSON does not have.
    """
    # Escaped text: a character outside ASCII stays one for the database, and surrogates stay visible here.
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    if _SUSPECT.search(text) is None:
        return text
    return json.dumps(_cleaned(value), separators=(",", ":"), allow_nan=False)


def is_storable(value: Any) -> bool:
    """True when `json_text` changes nothing."""
    return bool(_cleaned(value) == value)


def _cleaned(value: Json) -> Json:
    if isinstance(value, str):
        return UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    return value
