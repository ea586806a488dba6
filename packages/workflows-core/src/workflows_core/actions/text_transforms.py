"""Actions on texts. A length or position counts characters (code points), so no character is cut in half."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from workflows_core.actions.action import Action
from workflows_core.actions.building import object_schema, output_schema, short_action
from workflows_core.errors import ActionFailed, ErrorCategory, Json
from workflows_core.expressions.functions import to_string

MAX_RESULT_LENGTH: Final = 1024 * 1024
"""Characters in a result; a small input can ask for a huge one (`aaaa…` with each a replaced by a page)."""

_TEXT = {"description": "Text to work on. Null or nothing is the empty text, any other value its text form."}
_RESULT = output_schema({"text": {"type": "string", "description": "The resulting text."}})
_PIECES = output_schema({"items": {"type": "array", "items": {"type": "string"}, "description": "The pieces."}})


def text_transforms() -> Sequence[Action]:
    """concat, replace, split, join, truncate, lowercase, uppercase, trim."""
    return (
        *_simple_transforms(),
        _transform(
            "transform.concat_text",
            _concat,
            "Joins values into one text.",
            object_schema(
                {
                    "values": {"type": "array", "description": "Values in order; each becomes its text form."},
                    "separator": {"type": "string", "description": "Text between them; default empty."},
                }
            ),
            _RESULT,
        ),
        _transform(
            "transform.replace_text",
            _replace,
            "Replaces a text in another, literally.",
            object_schema(
                {
                    "text": _TEXT,
                    "search": {"type": "string", "description": "Text to look for; when empty nothing is replaced."},
                    "replacement": {"type": "string", "description": "Text to put there; default empty."},
                    "replaceAll": {"type": "boolean", "description": "Every occurrence (default) or the first only."},
                },
                ["search"],
            ),
            _RESULT,
        ),
        _transform(
            "transform.split_text",
            _split,
            "Splits a text at a delimiter.",
            object_schema(
                {
                    "text": _TEXT,
                    "delimiter": {"type": "string", "description": "Where to split; empty splits into characters."},
                    "removeEmpty": {"type": "boolean", "description": "Leave out empty pieces; default false."},
                },
                ["delimiter"],
            ),
            _PIECES,
        ),
        _transform(
            "transform.join_text",
            _join,
            "Joins a list into one text.",
            object_schema(
                {
                    "items": {"type": "array", "description": "Values in order; each becomes its text form."},
                    "delimiter": {"type": "string", "description": "Text between them; default empty."},
                }
            ),
            _RESULT,
        ),
        _transform(
            "transform.truncate_text",
            _truncate,
            "Shortens a text to a length, with a mark where something was left out.",
            object_schema(
                {
                    "text": _TEXT,
                    "maxLength": {"type": "integer", "minimum": 0, "description": "Length of the result, at most."},
                    "strategy": {"enum": ["end", "start", "middle"], "description": "What to cut; default end."},
                    "ellipsis": {"type": "string", "description": "The mark, counted in the length; default `...`."},
                },
                ["maxLength"],
            ),
            _RESULT,
        ),
    )


def _simple_transforms() -> Sequence[Action]:
    simple: Sequence[tuple[str, Callable[[str], str], str]] = (
        ("lowercase", str.lower, "Writes a text in lower case."),
        ("trim", str.strip, "Takes blanks and line breaks from both ends of a text."),
        ("uppercase", str.upper, "Writes a text in upper case."),
    )

    def of(name: str, change: Callable[[str], str], description: str) -> Action:
        def run(value: dict[str, Any]) -> Json:
            return {"text": change(to_string(value.get("text")))}

        return _transform(f"transform.{name}_text", run, description, object_schema({"text": _TEXT}), _RESULT)

    return [of(*one) for one in simple]


def _transform(
    action_id: str,
    run: Callable[[dict[str, Any]], Json],
    description: str,
    input_schema: dict[str, Any],
    output: dict[str, Any],
) -> Action:
    return short_action(
        action_id,
        1,
        run,
        description=description,
        category="transform",
        input_schema=input_schema,
        output_schema=output,
    )


def _concat(value: dict[str, Any]) -> Json:
    return {"text": _joined(value.get("values", ()), value.get("separator", ""))}


def _join(value: dict[str, Any]) -> Json:
    return {"text": _joined(value.get("items", ()), value.get("delimiter", ""))}


def _joined(values: Sequence[Json], separator: str) -> str:
    texts = [to_string(item) for item in values]
    check_length(sum(map(len, texts)) + len(separator) * max(0, len(texts) - 1))
    return separator.join(texts)


def _replace(value: dict[str, Any]) -> Json:
    text, search = to_string(value.get("text")), value["search"]
    if not search:
        return {"text": text}
    replacement = value.get("replacement", "")
    times = text.count(search)
    if not value.get("replaceAll", True):
        times = min(times, 1)
    check_length(len(text) + times * (len(replacement) - len(search)))
    return {"text": text.replace(search, replacement, times)}


def _split(value: dict[str, Any]) -> Json:
    text, delimiter = to_string(value.get("text")), value["delimiter"]
    pieces = text.split(delimiter) if delimiter else list(text)
    return {"items": [piece for piece in pieces if piece] if value.get("removeEmpty", False) else pieces}


def _truncate(value: dict[str, Any]) -> Json:
    text, limit, mark = to_string(value.get("text")), int(value["maxLength"]), value.get("ellipsis", "...")
    if len(text) <= limit:
        return {"text": text}
    kept = limit - len(mark)
    if kept <= 0:
        return {"text": mark[:limit] if mark else text[:limit]}
    match value.get("strategy", "end"):
        case "start":
            return {"text": mark + text[len(text) - kept :]}
        case "middle":
            tail = kept // 2
            return {"text": text[: kept - tail] + mark + text[len(text) - tail :]}
        case _:
            return {"text": text[:kept] + mark}


def check_length(length: int) -> None:
    """Refuses a result that would be too long.

    Raises:
        ActionFailed: `PayloadTooLarge`, code `TRANSFORM_TOO_LARGE`.
    """
    if length > MAX_RESULT_LENGTH:
        raise ActionFailed(
            f"the result would have {length} characters, at most {MAX_RESULT_LENGTH} are allowed",
            category=ErrorCategory.PAYLOAD_TOO_LARGE,
            code="TRANSFORM_TOO_LARGE",
            details={"length": length, "limit": MAX_RESULT_LENGTH},
        )
