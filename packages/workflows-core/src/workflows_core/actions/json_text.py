"""JSON text from outside: strict, finite, and not nested so deeply that later stages trip over it."""

from __future__ import annotations

import json
import math
import sys
from typing import Any, Final, NoReturn

from workflows_core.errors import Json
from workflows_core.wire.text import MAX_PARSED_DEPTH

_LARGEST: Final = int(sys.float_info.max)


class _UnfitError(ValueError):
    """A sentence of ours, raised from inside the library's reader."""


def parse_json(text: str) -> Json:
    """The value of a JSON text; of a field that is written twice, the last one.

    Raises:
        ValueError: With a sentence: no JSON, a number out of range, nested too deeply, or a text in it
            that cannot be stored (U+0000, half of a surrogate pair).
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except _UnfitError:
        raise
    except ValueError:
        # Python refuses whole numbers of thousands of digits, whose reading takes quadratic time.
        raise ValueError("holds a number out of range") from None
    except RecursionError:
        raise ValueError(f"is nested deeper than {MAX_PARSED_DEPTH} levels") from None
    require_fit(value)
    return value


def require_fit(root: Json) -> None:
    """Refuses a JSON value that later stages trip over: too deep, a number beyond double precision, an unstorable text.

    Raises:
        ValueError: With a sentence that goes on after the value's name, such as `is nested deeper than 100 levels`.
    """
    waiting: list[tuple[int, Any]] = [(1, root)]
    while waiting:
        depth, node = waiting.pop()
        if isinstance(node, str):
            _check_text(node)
        elif isinstance(node, int):
            if abs(node) > _LARGEST:
                raise ValueError("holds a number out of range")
        elif isinstance(node, (dict, list, tuple)):
            if depth > MAX_PARSED_DEPTH:
                raise ValueError(f"is nested deeper than {MAX_PARSED_DEPTH} levels")
            if isinstance(node, dict):
                waiting.extend((0, key) for key in node)
            waiting.extend((depth + 1, item) for item in (node.values() if isinstance(node, dict) else node))


def _no_constant(name: str) -> NoReturn:
    raise _UnfitError(f"is not JSON: {name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _UnfitError("holds a number out of range")
    return value


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair") from None
    if "\x00" in text:
        raise ValueError("holds U+0000, which cannot be stored")


def text_of(value: object) -> str:
    """The text of whatever a handler or its pack gave or raised, which may be one that cannot be written."""
    try:
        return str(value)
    except Exception:
        return f"({type(value).__name__} that cannot be written)"
