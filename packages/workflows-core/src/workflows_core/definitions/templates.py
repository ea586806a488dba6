"""Texts that an author composes in the document: `outputs` of `transform.compose_text`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from workflows_core.definitions.values import Expr, MayBeAbsent, Model, Value

COMPOSE_TEXT: Final = "transform.compose_text"

_REFERENCE = re.compile(r"(?:[A-Za-z_]\w*|\$index)(?:\.[A-Za-z_]\w*|\[\d+\])*", re.ASCII)
_KEY = r"^[a-z_][a-z0-9_]*$"


class Reference(Expr):
    """A path into what a run knows, a text in the document; the expression that gives its value."""

    written: str


def _read(path: Any) -> Any:
    if not isinstance(path, str):
        return path
    if not _REFERENCE.fullmatch(path):
        message = "must be a path and nothing else, such as payload.ticket.title or vars.items[0].name"
        raise PydanticCustomError("reference_path", message)
    # `$index` is what the original calls the counter of a loop.
    return {"$expr": path.removeprefix("$"), "written": path}


ReferencePath = Annotated[
    Reference,
    BeforeValidator(_read),
    PlainSerializer(lambda path: path.written),
    WithJsonSchema({"type": "string", "pattern": f"^{_REFERENCE.pattern}$"}),
]


class Inline(Model):
    """A piece of a line: a text with its marks, or a reference, whose value is written in its place."""

    type: Literal["text", "reference"]
    text: MayBeAbsent[str] = None
    marks: MayBeAbsent[list[Literal["bold", "italic", "code", "link"]]] = None
    href: MayBeAbsent[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:\S+$")]] = None
    path: MayBeAbsent[ReferencePath] = None
    label: MayBeAbsent[Annotated[str, Field(min_length=1)]] = None

    @model_validator(mode="after")
    def _fields_fit_type(self) -> Inline:
        _only(self, {"text": ("text",), "reference": ("path", "label")}, {"text": ("marks", "href"), "reference": ()})
        linked = "link" in (self.marks or ())
        if linked != (self.href is not None):
            raise PydanticCustomError("link", "needs both, the mark link and href, or none of them")
        return self


class Block(Model):
    """A paragraph, heading, quote, item of a list, or a block of code."""

    type: Literal["paragraph", "bullet_list_item", "ordered_list_item", "heading", "blockquote", "code_block"]
    level: MayBeAbsent[Literal[1, 2, 3]] = None
    children: MayBeAbsent[list[Inline]] = None
    text: MayBeAbsent[str] = None

    @model_validator(mode="after")
    def _fields_fit_type(self) -> Block:
        needed = {"heading": ("level", "children"), "code_block": ("text",)}
        _only(self, {self.type: needed.get(self.type, ("children",))}, {self.type: ()})
        return self


class TemplateDocument(Model):
    """Blocks in order; an empty line stands between two, none between two items of a list."""

    version: Literal[1]
    blocks: list[Block]


class TextOutput(Model):
    """One text: people see `label`, other steps read it by `stableKey`."""

    id: Annotated[str, Field(min_length=1)]
    label: Annotated[str, Field(min_length=1)]
    stable_key: Annotated[str, Field(pattern=_KEY)]
    document: TemplateDocument

    def as_input(self) -> Value:
        """What the action is given: the text, with an expression beside each reference that gives its value."""
        blocks: list[Value] = []
        for block in self.document.blocks:
            plain: dict[str, Value] = {"type": block.type}
            plain |= {name: value for name in ("level", "text") if (value := getattr(block, name)) is not None}
            if block.children is not None:
                plain["children"] = [_inline(piece) for piece in block.children]
            blocks.append(plain)
        return {"stableKey": self.stable_key, "label": self.label, "blocks": blocks}


def repeated(outputs: list[TextOutput]) -> str | None:
    """What two outputs of a step have in common and must not; None when nothing."""
    for field in ("label", "stable_key"):
        seen: set[str] = set()
        for output in outputs:
            value = getattr(output, field).strip().casefold()
            if value in seen:
                return f"two outputs have the {'label' if field == 'label' else 'stableKey'} {getattr(output, field)!r}"
            seen.add(value)
    return None


def _inline(piece: Inline) -> Value:
    if piece.path is None:
        plain: dict[str, Value] = {"type": piece.type, "text": piece.text}
        plain |= {"marks": list(piece.marks)} if piece.marks else {}
        return plain | ({} if piece.href is None else {"href": piece.href})
    return {"type": piece.type, "path": piece.path.written, "label": piece.label, "value": piece.path}


def _only(model: Inline | Block, needed: dict[str, tuple[str, ...]], optional: dict[str, tuple[str, ...]]) -> None:
    """Refuses a field that the type does not have, and the lack of one that it needs."""
    wanted = needed[model.type]
    given = model.model_fields_set - {"type"}
    for name in wanted:
        if name not in given:
            raise PydanticCustomError("field_of_type", "a {kind} needs {name}", {"kind": model.type, "name": name})
    for name in sorted(given - {*wanted, *optional[model.type]}):
        raise PydanticCustomError("field_of_type", "a {kind} has no {name}", {"kind": model.type, "name": name})
