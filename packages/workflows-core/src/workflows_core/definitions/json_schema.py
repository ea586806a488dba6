"""The definition document as a JSON Schema (2020-12), for editors and other languages; contracts/ has it as a file.

It refuses what the model refuses, but for rules between fields (a filter's operator and its value, `collect` and
`saveAs`, a wait's mode), which only the model knows.
"""

from __future__ import annotations

from typing import Any

from workflows_core.definitions.model import STEP_MODELS, Definition

_SCALARS: list[dict[str, Any]] = [{"type": ["string", "number", "boolean", "null"]}]


def definition_schema() -> dict[str, Any]:
    """The schema, JSON-ready."""
    generated = Definition.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = generated.pop("$defs")
    definitions["Value"] = {
        "anyOf": [
            {"$ref": "#/$defs/Expr"},
            {"$ref": "#/$defs/SecretRef"},
            {
                "type": "object",
                "not": {"anyOf": [{"required": ["$expr"]}, {"required": ["$secret"]}]},
                "additionalProperties": {"$ref": "#/$defs/Value"},
            },
            {"type": "array", "items": {"$ref": "#/$defs/Value"}},
            *_SCALARS,
        ]
    }
    steps = {"oneOf": [{"$ref": f"#/$defs/{model.__name__}"} for model in STEP_MODELS.values()]}
    whole: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_plain(generated),
        "$defs": {name: _plain(found) for name, found in sorted(definitions.items())},
    }
    whole["$defs"]["Step"] = {"description": "Any step, told apart by `type`.", **steps}
    return whole


def _plain(node: Any) -> Any:
    """Without what the generator adds: titles, null for fields that may be absent, the union of steps written out."""
    if isinstance(node, list):
        return [_plain(one) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("discriminator", {}).get("propertyName") == "type" and len(node["oneOf"]) == len(STEP_MODELS):
        return {"$ref": "#/$defs/Step"}
    kept = {name: value for name, value in node.items() if name not in ("title", "discriminator")}
    if kept.get("default", 0) is None:
        del kept["default"]
        others = [one for one in kept.get("anyOf", ()) if one != {"type": "null"}]
        if len(others) == 1:
            del kept["anyOf"]
            kept = {**others[0], **kept}
    properties = kept.get("properties")
    if isinstance(properties, dict):
        kept["properties"] = {name: _plain(value) for name, value in properties.items()}
        return {name: value if name == "properties" else _plain(value) for name, value in kept.items()}
    return {name: _plain(value) for name, value in kept.items()}
