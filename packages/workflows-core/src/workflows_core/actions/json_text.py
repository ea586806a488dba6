"""JSON text from outside: strict, finite, and not nested so deeply that later stages trip over it."""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

from workflows_core.errors import Json

MAX_PARSED_DEPTH: Final = 100
"""Levels of lists and objects in a parsed text."""


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
    _check(value)
    return value


def _no_constant(name: str) -> NoReturn:
    raise _UnfitError(f"is not JSON: {name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _UnfitError("holds a number out of range")
    return value


def _check(root: Any) -> None:
    waiting: list[tuple[int, Any]] = [(1, root)]
    while waiting:
        depth, node = waiting.pop()
        if isinstance(node, str):
            _check_text(node)
        elif isinstance(node, (dict, list)):
            if depth > MAX_PARSED_DEPTH:
                raise ValueError(f"is nested deeper than {MAX_PARSED_DEPTH} levels")
            if isinstance(node, dict):
                for key in node:
                    _check_text(key)
            waiting.extend((depth + 1, item) for item in (node.values() if isinstance(node, dict) else node))


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair") from None
    if "\x00" in text:
        raise ValueError("holds U+0000, which cannot be stored")
