"""The schemas within a JSON Schema: what is a keyword, what a field's name, and what data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

Path = tuple[str | int, ...]

DATA_KEYWORDS: Final = frozenset({"const", "default", "enum", "examples"})
"""What they hold is no schema, whatever it looks like."""

NAMED_KEYWORDS: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Their fields are names, with a schema each."""

_NEVER = (str, int, float)
"""Most of what a schema holds: looked past at once, since services look through many schemas when they start."""


def schema_parts(schema: Any, *, data: bool = False) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Path and content of the schema and of every one within it.

    Args:
        schema: As JSON.
        data: Whether to go through data, too: a reference may take it for a schema.
    """
    waiting: list[tuple[Path, Any]] = [((), schema)]
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(((*path, index), item) for index, item in enumerate(node) if not isinstance(item, str))
        elif isinstance(node, Mapping):
            yield path, node
            for keyword, item in node.items():
                if isinstance(item, _NEVER):
                    continue
                if keyword in NAMED_KEYWORDS and isinstance(item, Mapping):
                    waiting.extend(((*path, keyword, name), nested) for name, nested in item.items())
                elif data or keyword not in DATA_KEYWORDS:
                    waiting.append(((*path, keyword), item))
