"""Regular expressions by RE2, whose time grows with pattern times text and never beyond.

A backtracking engine can be kept busy for years by a short pattern and a short text, on the worker's
only loop. RE2 cannot; what remains, a large pattern on a long text, is refused by a count beforehand,
so that every machine decides alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import re2

from workflows_core.actions.action import Action
from workflows_core.actions.building import object_schema, output_schema, short_action
from workflows_core.errors import ActionFailed, ErrorCategory, Json
from workflows_core.expressions.functions import to_string

MAX_PATTERN_LENGTH: Final = 2_000
MAX_TEXT_LENGTH: Final = 100_000
MAX_WORK: Final = 25_000_000
"""Instructions of the compiled pattern times bytes of the text: about a tenth of a second at worst."""

_PATTERN_MEMORY_BYTES = 1024 * 1024
_FLAGS: Final = "imsgu"
_NULLABLE_TEXT = {"type": ["string", "null"]}


def regex_transforms() -> Sequence[Action]:
    """regex_match."""
    return (
        short_action(
            "transform.regex_match",
            1,
            _match,
            description="Finds the first match of a regular expression (RE2 syntax) with its groups.",
            category="transform",
            input_schema=object_schema(
                {
                    "text": {
                        "type": ["string", "number", "boolean", "null"],
                        "description": f"Text to search, at most {MAX_TEXT_LENGTH} characters.",
                    },
                    "pattern": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": MAX_PATTERN_LENGTH,
                        "description": "RE2 syntax, without slashes; no look-around, no back-references.",
                    },
                    "flags": {
                        "type": "string",
                        "pattern": f"^[{_FLAGS}]*$",
                        "description": "`i` ignores case, `m` lets ^ and $ match at lines, `s` lets . match a line "
                        "break; `g` and `u` change nothing here.",
                    },
                    "requireMatch": {"type": "boolean", "description": "Fail when nothing matches; default false."},
                },
                ["text", "pattern"],
            ),
            output_schema=output_schema(
                {
                    "matched": {"type": "boolean", "description": "Whether there is a match."},
                    "match": {**_NULLABLE_TEXT, "description": "The matched text, or null."},
                    "index": {"type": ["integer", "null"], "description": "Where it begins, in characters from 0."},
                    "groups": {"type": "array", "items": _NULLABLE_TEXT, "description": "Groups from 1 on."},
                    "namedGroups": {
                        "type": "object",
                        "additionalProperties": _NULLABLE_TEXT,
                        "description": "Groups that have a name, `(?<name>…)`.",
                    },
                }
            ),
        ),
    )


def _match(value: dict[str, Any]) -> Json:
    text = to_string(value["text"])
    if len(text) > MAX_TEXT_LENGTH:
        raise _too_costly(f"the text has {len(text)} characters, at most {MAX_TEXT_LENGTH} are searched")
    pattern = _compiled(value["pattern"], value.get("flags", ""))
    work = pattern.programsize * (len(text.encode()) + 1)
    if work > MAX_WORK:
        raise _too_costly(
            f"the pattern ({pattern.programsize} instructions) is too large for a text of {len(text)} characters; "
            "make its counted repetitions smaller, or the text shorter"
        )
    found = pattern.search(text)
    if found is None:
        if value.get("requireMatch", False):
            raise ActionFailed("the pattern matches nothing in the text", code="TRANSFORM_NO_MATCH")
        return {"matched": False, "match": None, "index": None, "groups": [], "namedGroups": {}}
    return {
        "matched": True,
        "match": found.group(0),
        "index": found.start(),
        "groups": list(found.groups()),
        "namedGroups": found.groupdict(),
    }


def _compiled(pattern: str, flags: str) -> re2._Regexp[str]:
    options = re2.Options()
    options.max_mem = _PATTERN_MEMORY_BYTES
    options.log_errors = False
    set_flags = "".join(flag for flag in "ims" if flag in flags)
    try:
        return re2.compile(f"(?{set_flags}){pattern}" if set_flags else pattern, options)
    except re2.error as error:
        reason = error.args[0]
        said = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        message = f"the pattern is not valid in RE2 syntax: {said}"
        raise ActionFailed(message, category=ErrorCategory.VALIDATION, code="TRANSFORM_REGEX_INVALID") from None


def _too_costly(message: str) -> ActionFailed:
    return ActionFailed(message, category=ErrorCategory.VALIDATION, code="TRANSFORM_REGEX_TOO_COSTLY")
