"""Regular expressions by RE2, whose time grows with pattern times text and never beyond.

A backtracking engine can be kept busy for years by a short pattern and a short text, on the worker's
only loop. RE2 cannot; what remains, a large pattern on a long text, is refused by a count beforehand,
so that every machine decides alike. That is for one search: behind each of many matches there is another,
and what all of them go over only RE2 knows. So where they could be long, a clock ends them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import re2

from workflows_core.actions.action import Action
from workflows_core.actions.building import object_schema, output_schema, short_action
from workflows_core.actions.text_transforms import check_length
from workflows_core.errors import ActionFailed, ErrorCategory, Json
from workflows_core.expressions.functions import to_string

MAX_PATTERN_LENGTH: Final = 2_000
MAX_TEXT_LENGTH: Final = 100_000
MAX_WORK: Final = 25_000_000
"""Instructions of the compiled pattern times bytes of the text: for one search about a tenth of a second at worst."""

MAX_MATCHING_MS: Final = 1_000
"""Of one processor, for all matches of a call that may come to more work: 100,000 simple ones take half of it."""

_PATTERN_MEMORY_BYTES = 1024 * 1024
_FLAGS: Final = "imsgu"
_NULLABLE_TEXT = {"type": ["string", "null"]}
_SEARCH: Final[dict[str, Any]] = {
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
}


def regex_transforms() -> Sequence[Action]:
    """regex_match, regex_extract, regex_replace."""
    return (
        *_list_transforms(),
        short_action(
            "transform.regex_match",
            1,
            _match,
            description="Finds the first match of a regular expression (RE2 syntax) with its groups.",
            category="transform",
            input_schema=object_schema(
                {
                    **_SEARCH,
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


def _list_transforms() -> Sequence[Action]:
    return (
        short_action(
            "transform.regex_extract",
            1,
            _extract,
            description="Gives every match of a regular expression (RE2 syntax), or one group of each.",
            category="transform",
            input_schema=object_schema(
                {
                    **_SEARCH,
                    "group": {"type": "integer", "minimum": 0, "description": "Group to give; 0, the default, is all."},
                },
                ["text", "pattern"],
            ),
            output_schema=output_schema(
                {
                    "matches": {
                        "type": "array",
                        "items": _NULLABLE_TEXT,
                        "description": "In order; null where the group took no part.",
                    },
                    "count": {"type": "integer", "description": "How many there are."},
                }
            ),
        ),
        short_action(
            "transform.regex_replace",
            1,
            _replace,
            description="Replaces every match of a regular expression (RE2 syntax) by a text, literally.",
            category="transform",
            input_schema=object_schema(
                {
                    **_SEARCH,
                    "replacement": {"type": "string", "description": "Text to put there; default empty."},
                    "replaceAll": {"type": "boolean", "description": "Every match (default) or the first only."},
                },
                ["text", "pattern"],
            ),
            output_schema=output_schema(
                {
                    "text": {"type": "string", "description": "The resulting text."},
                    "count": {"type": "integer", "description": "How many matches were replaced."},
                }
            ),
        ),
    )


def _match(value: dict[str, Any]) -> Json:
    pattern, text = _searched(value)
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


def _extract(value: dict[str, Any]) -> Json:
    pattern, text = _searched(value)
    group = int(value.get("group", 0))
    if group > pattern.groups:
        message = f"the pattern has {pattern.groups} group(s), there is no group {group}"
        raise ActionFailed(message, category=ErrorCategory.VALIDATION, code="TRANSFORM_REGEX_INVALID")
    matches = [found.group(group) for found in _every_match(pattern, text)]
    return {"matches": matches, "count": len(matches)}


def _replace(value: dict[str, Any]) -> Json:
    pattern, text = _searched(value)
    replacement = value.get("replacement", "")
    pieces, end, count = [], 0, 0
    for found in _every_match(pattern, text):
        pieces += [text[end : found.start()], replacement]
        end, count = found.end(), count + 1
        if not value.get("replaceAll", True):
            break
    check_length(len(text) + count * len(replacement))
    return {"text": "".join([*pieces, text[end:]]), "count": count}


def _searched(value: dict[str, Any]) -> tuple[re2._Regexp[str], str]:
    """Pattern and text, if searching one for the other is bounded well enough."""
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
    return pattern, text


def _every_match(pattern: re2._Regexp[str], text: str) -> Iterator[re2._Match[str]]:
    """The matches in order.

    To find the match `a` of `a*b|a`, a search goes over all that follows, and the next one does so again. The time
    counts only where this could come to more than `MAX_WORK`, so that a small text does not fail on one machine alone.
    """
    of_character = pattern.programsize * len(text.encode()) / max(1, len(text))
    work, begun = 0.0, time.thread_time()
    for count, found in enumerate(pattern.finditer(text), 1):
        yield found
        work += of_character * (len(text) - found.end())
        if work > MAX_WORK and (time.thread_time() - begun) * 1000 > MAX_MATCHING_MS:
            raise _too_costly(
                f"the first {count} matches, up to character {found.end()} of {len(text)}, took over "
                f"{MAX_MATCHING_MS} ms, which is the limit; make the text shorter, or the pattern such that it "
                "need not look far behind a match"
            )


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
