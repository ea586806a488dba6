"""`transform.compose_text`: Markdown from the blocks that an author has composed (`outputs` of the step)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from workflows_core.actions.action import Action
from workflows_core.actions.building import object_schema, short_action
from workflows_core.actions.text_transforms import check_length
from workflows_core.definitions.templates import COMPOSE_TEXT
from workflows_core.errors import ActionFailed, ErrorCategory, Json
from workflows_core.expressions.functions import to_string

_MARKS: Final = (("code", "`"), ("bold", "**"), ("italic", "_"))
"""From the inside to the outside."""

_LISTS: Final = ("bullet_list_item", "ordered_list_item")


def compose_text() -> Action:
    """The action."""
    text = {
        "type": "object",
        "required": ["stableKey", "label", "blocks"],
        "properties": {"blocks": {"type": "array", "items": {"type": "object"}}},
    }
    described = {**text, "description": "A text: its key, its label and its blocks, with the values of references."}
    return short_action(
        COMPOSE_TEXT,
        1,
        _compose,
        description="Composes Markdown texts from blocks and references: the step's own field outputs, not a mapping.",
        category="transform",
        input_schema=object_schema({"outputs": {"type": "array", "items": described}}),
        output_schema={
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "The texts by their stableKey.",
        },
    )


def _compose(value: Mapping[str, Any]) -> Json:
    texts = {output["stableKey"]: _Text(output).markdown() for output in value.get("outputs", ())}
    check_length(sum(map(len, texts.values())))
    return dict(texts)


class _Text:
    def __init__(self, output: Mapping[str, Any]) -> None:
        self._key = output["stableKey"]
        self._blocks: Sequence[Mapping[str, Any]] = output["blocks"]

    def markdown(self) -> str:
        parts: list[str] = []
        for kind, blocks in groupby(self._blocks, key=lambda block: block["type"]):
            if kind in _LISTS:
                lines = (self._line(block) for block in blocks)
                bullets = (("-" if kind == _LISTS[0] else f"{number}.", line) for number, line in enumerate(lines, 1))
                parts.append("\n".join(f"{bullet} {line}" for bullet, line in bullets))
            else:
                parts.extend(self._block(block) for block in blocks)
        return "\n\n".join(parts)

    def _block(self, block: Mapping[str, Any]) -> str:
        match block["type"]:
            case "code_block":
                fence = "````" if "```" in block["text"] else "```"
                return f"{fence}\n{block['text']}\n{fence}"
            case "heading":
                return f"{'#' * block['level']} {self._line(block)}"
            case "blockquote":
                return "\n".join(f"> {line}" for line in self._line(block).split("\n"))
        return self._line(block)

    def _line(self, block: Mapping[str, Any]) -> str:
        return "".join(
            _marked(piece) if piece["type"] == "text" else self._referred(piece) for piece in block["children"]
        )

    def _referred(self, piece: Mapping[str, Any]) -> str:
        if "value" not in piece:
            raise ActionFailed(
                f"text {self._key!r} refers to {piece['path']}, which has no value",
                category=ErrorCategory.VALIDATION,
                code="MISSING_REFERENCE",
                details={"outputKey": self._key, "referencePath": piece["path"], "referenceLabel": piece["label"]},
            )
        value = piece["value"]
        if value is None or isinstance(value, (list, dict)):
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return to_string(value)


def _marked(piece: Mapping[str, Any]) -> str:
    text: str = piece["text"].replace("\n", "  \n")  # A line break, not a new paragraph.
    marks = piece.get("marks", ())
    for mark, sign in _MARKS:
        if mark in marks and text:
            text = f"{sign}{text}{sign}"
    return f"[{text}]({piece['href']})" if "link" in marks else text
