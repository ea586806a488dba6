"""JSON as PostgreSQL takes it: text without the two things that JSON allows and `jsonb` refuses."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from workflows_core.actions.json_text import require_fit
from workflows_core.errors import Json
from workflows_core.wire.text import MAX_PARSED_DEPTH, UNSTORABLE

MAX_PAYLOAD_BYTES: Final = 512 * 1024
"""Of an event or a run: both travel in histories, and an event has to fit into a signal, and that into a message."""

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


def payload_fault(payload: Json) -> str | None:
    """Why the payload of an event or a run is refused, said so that it goes on after its name; None when it is fit.

    Its size is that of the text that PostgreSQL makes of it, with a space behind each comma and colon.
    """
    try:
        text = json.dumps(payload, ensure_ascii=False, allow_nan=False)
    except RecursionError:
        return f"is nested deeper than {MAX_PARSED_DEPTH} levels"
    except (TypeError, ValueError) as error:
        return f"must be JSON: {error}"
    try:
        require_fit(payload)
    except ValueError as error:
        return str(error)
    size = len(text.encode())
    if size > MAX_PAYLOAD_BYTES:
        return f"has {size} bytes, at most {MAX_PAYLOAD_BYTES}: keep large values outside and pass their name"
    return None


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
