"""A provider without a model, for development and tests: the same question always has the same answer.

It makes up a value that fits the schema. Nothing leaves the process.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from workflows_bootstrap.inference.limits import estimated_tokens
from workflows_bootstrap.inference.provider import InferenceAnswer, InferenceRequest, Usage
from workflows_core.actions.json_schemas import compile_schema, value_problems
from workflows_core.errors import ActionFailed, ErrorCategory

MODEL = "local"
_MAX_DEPTH = 12
_WORDS = ("amber", "brook", "cedar", "dawn", "ember", "fjord", "grove", "harbor")
_FORMATS = {
    "date": "2026-01-15",
    "date-time": "2026-01-15T09:30:00Z",
    "time": "09:30:00Z",
    "email": "person@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class LocalProvider:
    """Answers with made-up values of the schema."""

    async def infer(self, request: InferenceRequest) -> InferenceAnswer:
        """A value that fits the schema.

        Raises:
            ActionFailed: `ActionError` `AI_REFUSED`: the schema asks for more than this provider can make up.
        """
        seed = hashlib.sha256(
            json.dumps([request.prompt, request.system, request.output_schema], sort_keys=True).encode()
        ).digest()
        value = _Maker(request.output_schema, seed).make(request.output_schema, "", 0)
        if value_problems(compile_schema(request.output_schema), value):
            message = (
                "the local AI provider cannot make up a value of this schema; it knows types, enum, const, bounds, "
                "required, items, $ref, allOf and the first fitting of anyOf and oneOf"
            )
            raise ActionFailed(message, category=ErrorCategory.ACTION, code="AI_REFUSED")
        text = json.dumps(value)
        prompt_tokens = estimated_tokens(request.prompt + (request.system or ""), 1) - 1
        return InferenceAnswer(text, Usage(MODEL, prompt_tokens, len(text) // 4 + 1))

    async def close(self) -> None:
        """Nothing to give back."""


class _Maker:
    def __init__(self, root: Mapping[str, Any], seed: bytes) -> None:
        self._root = root
        self._seed = seed

    def _number(self, path: str) -> int:
        """A number that depends on the question and the place only."""
        return int.from_bytes(hashlib.sha256(self._seed + path.encode()).digest()[:4], "big")

    def make(self, schema: Any, path: str, depth: int) -> Any:
        """A value for one part of the schema."""
        schema = self._whole(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][self._number(path) % len(schema["enum"])]
        for keyword in ("oneOf", "anyOf"):
            for option in schema.get(keyword, ()):
                base = {key: value for key, value in schema.items() if key != keyword}
                made = self.make({**base, **self._whole(option)}, path, depth + 1) if depth < _MAX_DEPTH else None
                if not value_problems(compile_schema({**schema, "$defs": self._root.get("$defs", {})}), made):
                    return made
        return self._typed(schema, path, depth)

    def _typed(self, schema: Mapping[str, Any], path: str, depth: int) -> Any:
        match _type_of(schema):
            case "object":
                return self._object(schema, path, depth)
            case "array":
                return self._array(schema, path, depth)
            case "string":
                return self._string(schema, path)
            case "integer" | "number" as kind:
                return _bounded(schema, self._number(path), whole=kind == "integer")
            case "boolean":
                return self._number(path) % 2 == 0
        return None

    def _whole(self, schema: Any) -> dict[str, Any]:
        """References followed and `allOf` joined."""
        if not isinstance(schema, Mapping):
            return {}
        found = dict(schema)
        for _ in range(_MAX_DEPTH):
            reference = found.pop("$ref", None)
            if not isinstance(reference, str) or not reference.startswith("#/"):
                break
            target: Any = self._root
            for part in reference[2:].split("/"):
                target = (
                    target.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(target, Mapping) else {}
                )
            found = {**(target if isinstance(target, Mapping) else {}), **found}
        for part in found.pop("allOf", ()):
            joined = self._whole(part)
            properties = {**found.get("properties", {}), **joined.get("properties", {})}
            required = [*found.get("required", []), *joined.get("required", [])]
            found = {**found, **joined}
            if properties:
                found["properties"] = properties
            if required:
                found["required"] = list(dict.fromkeys(required))
        return found

    def _object(self, schema: Mapping[str, Any], path: str, depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        # Optional members end a schema that refers to itself.
        names = [name for name in properties if name in required or depth < 3] + [
            name for name in required if name not in properties
        ]
        return {
            name: self.make(properties.get(name, {"type": "string"}), f"{path}/{name}", depth + 1) for name in names
        }

    def _array(self, schema: Mapping[str, Any], path: str, depth: int) -> list[Any]:
        first = schema.get("prefixItems", [])
        least = schema.get("minItems", 0)
        count = max(least, min(schema.get("maxItems", 2), 2 if depth < 3 else 0))
        items = schema.get("items", {"type": "string"})
        made: list[Any] = []
        for index in range(count):
            item = first[index] if index < len(first) else items
            value = self.make(item, f"{path}/{index}", depth + 1)
            if schema.get("uniqueItems") and value in made and len(made) >= least:
                break
            made.append(value)
        return made

    def _string(self, schema: Mapping[str, Any], path: str) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        number = self._number(path)
        text = f"{_WORDS[number % len(_WORDS)]} {number % 1000}"
        least, most = schema.get("minLength", 0), schema.get("maxLength", max(len(text), schema.get("minLength", 0)))
        while len(text) < least:
            text += "." + text
        return text[: max(most, 0)]


def _type_of(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return "string"


def _bounded(schema: Mapping[str, Any], number: int, *, whole: bool) -> float | int:
    step = schema.get("multipleOf", 1)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None:
        low = min(0, high) if high is not None else 0
    first = math.ceil(low / step)
    if "exclusiveMinimum" in schema and first * step <= schema["exclusiveMinimum"]:
        first += 1
    last = first + 99 if high is None else math.floor(high / step)
    if "exclusiveMaximum" in schema and last * step >= schema["exclusiveMaximum"]:
        last -= 1
    if last < first:
        # No multiple fits; between the bounds there may be a number all the same.
        middle: float = low if whole or high is None else (low + high) / 2
        return middle
    value: float = (first + number % (last - first + 1)) * step
    return int(value) if whole else value
