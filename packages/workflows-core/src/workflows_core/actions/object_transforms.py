"""Actions on objects and lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workflows_core.actions.action import Action
from workflows_core.actions.building import object_schema, output_schema, short_action
from workflows_core.errors import Json

_NAME = {"type": "string", "minLength": 1}
_SOURCE = {"type": ["object", "null"], "description": "Object to read; null or nothing is an empty one."}
_OBJECT = output_schema({"object": {"type": "object", "description": "The resulting object."}})


def object_transforms() -> Sequence[Action]:
    """pick_fields, rename_fields, build_object, append_array, build_array, coalesce_value."""
    return (
        *_value_transforms(),
        short_action(
            "transform.pick_fields",
            1,
            _pick,
            description="Keeps some fields of an object; one that is not there is left out.",
            category="transform",
            input_schema=object_schema(
                {
                    "source": _SOURCE,
                    "fields": {"type": "array", "items": _NAME, "description": "Names of the fields to keep."},
                }
            ),
            output_schema=_OBJECT,
        ),
        short_action(
            "transform.rename_fields",
            1,
            _rename,
            description="Renames fields of an object, all at once, so that two can swap their names.",
            category="transform",
            input_schema=object_schema(
                {
                    "source": _SOURCE,
                    "renames": {
                        "type": "array",
                        "items": object_schema({"from": _NAME, "to": _NAME}, ["from", "to"]),
                        "description": "`{from, to}` each; a `from` that is not there is passed over, "
                        "a field that already has the name `to` is replaced, and the later entry wins.",
                    },
                }
            ),
            output_schema=_OBJECT,
        ),
        short_action(
            "transform.build_object",
            1,
            _build,
            description="Builds an object from a list of names and values.",
            category="transform",
            input_schema=object_schema(
                {
                    "fields": {
                        "type": "array",
                        "items": object_schema({"key": _NAME, "value": {}}, ["key"]),
                        "description": "`{key, value}` each; without a value it is null, and the later entry wins.",
                    }
                }
            ),
            output_schema=_OBJECT,
        ),
        short_action(
            "transform.append_array",
            1,
            _append,
            description="Appends values to a list.",
            category="transform",
            input_schema=object_schema(
                {
                    "items": {"type": "array", "description": "The list."},
                    "values": {"type": "array", "description": "What comes after it."},
                }
            ),
            output_schema=output_schema({"items": {"type": "array", "description": "The resulting list."}}),
        ),
    )


def _value_transforms() -> Sequence[Action]:
    return (
        short_action(
            "transform.build_array",
            1,
            _build_array,
            description="Makes a list of values.",
            category="transform",
            input_schema=object_schema(
                {
                    "values": {"type": "array", "description": "Values in order."},
                    "removeEmpty": {"type": "boolean", "description": "Leave out null and empty texts; default false."},
                }
            ),
            output_schema=output_schema({"items": {"type": "array", "description": "The resulting list."}}),
        ),
        short_action(
            "transform.coalesce_value",
            1,
            _coalesce,
            description="Gives the first value that is neither null nor an empty text.",
            category="transform",
            input_schema=object_schema(
                {
                    "values": {"type": "array", "description": "Values in order of preference."},
                    "default": {"description": "What to give when all are empty; default null."},
                }
            ),
            output_schema=output_schema(
                {
                    "value": {"description": "The value."},
                    "index": {"type": ["integer", "null"], "description": "Its place from 0; null for the default."},
                }
            ),
        ),
    )


def _is_empty(value: Json) -> bool:
    return value is None or value == ""


def _build_array(value: dict[str, Any]) -> Json:
    values = value.get("values", ())
    return {"items": [v for v in values if not _is_empty(v)] if value.get("removeEmpty", False) else list(values)}


def _coalesce(value: dict[str, Any]) -> Json:
    for index, found in enumerate(value.get("values", ())):
        if not _is_empty(found):
            return {"value": found, "index": index}
    return {"value": value.get("default"), "index": None}


def _pick(value: dict[str, Any]) -> Json:
    source = value.get("source") or {}
    return {"object": {name: source[name] for name in value.get("fields", ()) if name in source}}


def _rename(value: dict[str, Any]) -> Json:
    source = value.get("source") or {}
    renames = {entry["from"]: entry["to"] for entry in value.get("renames", ()) if entry["from"] in source}
    kept = {name: item for name, item in source.items() if name not in renames}
    return {"object": {**kept, **{new: source[old] for old, new in renames.items()}}}


def _build(value: dict[str, Any]) -> Json:
    return {"object": {entry["key"]: entry.get("value") for entry in value.get("fields", ())}}


def _append(value: dict[str, Any]) -> Json:
    return {"items": [*value.get("items", ()), *value.get("values", ())]}
