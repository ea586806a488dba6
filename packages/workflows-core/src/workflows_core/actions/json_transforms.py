"""Actions between JSON text and values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from workflows_core.actions.action import MAX_SHORT_MS, Action, ActionContext, Effect
from workflows_core.actions.building import object_schema, output_schema, short_action
from workflows_core.actions.json_text import parse_json
from workflows_core.actions.text_transforms import MAX_RESULT_LENGTH
from workflows_core.errors import ActionFailed, ErrorCategory, Json
from workflows_core.expressions.engine import NO_VALUE, ExpressionFailed, ExpressionInvalid
from workflows_core.expressions.jlens_engine import JlensEngine

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TYPES = ("object", "array", "string", "number", "boolean", "null")


def json_transforms() -> Sequence[Action]:
    """parse_json, stringify_json, query_json."""
    return (
        short_action(
            "transform.parse_json",
            1,
            _parse,
            description="Reads a JSON text; an object or list is given back as it is.",
            category="transform",
            input_schema=object_schema(
                {"source": {"type": ["string", "array", "object"], "description": "JSON text, object or list."}},
                ["source"],
            ),
            output_schema=output_schema(
                {
                    "value": {"description": "The value."},
                    "type": {"enum": list(_TYPES), "description": "Its JSON type."},
                }
            ),
        ),
        short_action(
            "transform.stringify_json",
            1,
            _stringify,
            description="Writes a value as JSON text.",
            category="transform",
            input_schema=object_schema(
                {
                    "source": {"description": "Any value."},
                    "spacing": {
                        "type": "integer",
                        "minimum": 0,
                        "maximum": 8,
                        "description": "Blanks per level; 0, the default, writes one line.",
                    },
                },
                ["source"],
            ),
            output_schema=output_schema({"text": {"type": "string", "description": "The JSON text."}}),
        ),
        _query_json(),
    )


def _query_json() -> Action:
    return Action(
        id="transform.query_json",
        version=1,
        handler=_query,
        input_schema=object_schema(
            {
                "source": {"description": "The value; a JSON text is read first where `parse` is true."},
                "query": {
                    "type": "string",
                    "minLength": 1,
                    "description": "The expression, as in `$expr`; its time is that of the call, and each attempt of "
                    "the step draws the same by chance.",
                },
                "parse": {"type": "boolean", "description": "Read `source` as JSON text; default false."},
            },
            ["source", "query"],
        ),
        output_schema=output_schema(
            {
                "value": {"description": "What the expression gives; null where it gives nothing."},
                "found": {"type": "boolean", "description": "Whether it gives anything."},
            }
        ),
        description="Evaluates a JSONata expression over an object; any other value is the member `source` of one.",
        category="transform",
        effect=Effect.PURE,
        timeout_ms=MAX_SHORT_MS,
        short=True,
    )


def _parse(value: dict[str, Any]) -> dict[str, Json]:
    source = value["source"]
    if isinstance(source, str):
        try:
            source = parse_json(source)
        except ValueError as error:
            message = f"the source {error}"
            raise ActionFailed(message, category=ErrorCategory.VALIDATION, code="TRANSFORM_JSON_INVALID") from None
    return {"value": source, "type": _type_of(source)}


async def _query(value: dict[str, Any], action: ActionContext) -> Json:
    source = value["source"]
    if value.get("parse", False) and isinstance(source, str):
        source = _parse({"source": source})["value"]
    context = source if isinstance(source, dict) else {"source": source}
    # Of two calls of one attempt history keeps one answer, so their times may differ.
    now_ms = (action.now - _EPOCH) // timedelta(milliseconds=1)
    try:
        found = JlensEngine().compile(value["query"]).evaluate(context, now_ms=now_ms, seed=_seed_of(action))
    except (ExpressionInvalid, ExpressionFailed) as error:
        raise ActionFailed(error.message, category=ErrorCategory.EXPRESSION, code="TRANSFORM_QUERY_FAILED") from None
    return {"value": None, "found": False} if found is NO_VALUE else {"value": found, "found": True}


def _seed_of(action: ActionContext) -> int:
    """The same for all calls and attempts of one visit of a step; a key may be an author's, and that of other steps."""
    visit = json.dumps([action.run_id, action.step_path, action.idempotency_key])
    return int.from_bytes(hashlib.sha256(visit.encode()).digest()[:4], "big")


def _type_of(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _stringify(value: dict[str, Any]) -> Json:
    try:
        return {"text": _written(value["source"], int(value.get("spacing", 0)))}
    except RecursionError:
        message = "the source is nested too deeply to be written as text"
        raise ActionFailed(message, category=ErrorCategory.PAYLOAD_TOO_LARGE, code="TRANSFORM_TOO_LARGE") from None


def _written(source: Json, spacing: int) -> str:
    if not spacing:
        text = json.dumps(source, ensure_ascii=False, separators=(",", ":"))
        _check_length(len(text))
        return text
    # In pieces, since indented text of nested lists is many times as long as the value.
    pieces, length = [], 0
    for piece in json.JSONEncoder(ensure_ascii=False, indent=spacing).iterencode(source):
        pieces.append(piece)
        length += len(piece)
        _check_length(length)
    return "".join(pieces)


def _check_length(length: int) -> None:
    if length > MAX_RESULT_LENGTH:
        raise ActionFailed(
            f"the text would have over {MAX_RESULT_LENGTH} characters",
            category=ErrorCategory.PAYLOAD_TOO_LARGE,
            code="TRANSFORM_TOO_LARGE",
            details={"limit": MAX_RESULT_LENGTH},
        )
