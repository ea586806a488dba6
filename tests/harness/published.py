"""What publishing is asked about, and how its answer is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import Problem
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.validation.publish import publish_problems

EXPR = {"$expr": "payload.id"}


@dataclass(frozen=True)
class KnownAction:
    input_schema: Mapping[str, Any] = field(default_factory=dict)
    takes_secrets: bool = True


class Actions:
    def __init__(self, known: Mapping[tuple[str, int], Mapping[str, Any]]) -> None:
        self._known = known

    def ids(self) -> Sequence[str]:
        return sorted({name for name, _ in self._known})

    def versions(self, action_id: str) -> Sequence[int]:
        return sorted(version for name, version in self._known if name == action_id)

    def get(self, action_id: str, version: int) -> KnownAction | None:
        schema = self._known.get((action_id, version))
        return None if schema is None else KnownAction(schema)

    def lacking(self, action_id: str, version: int) -> str | None:
        return None


ADDRESS = {"type": "object", "required": ["city"], "properties": {"city": {}, "street": {}}}
ACTIONS = Actions(
    {
        ("text.join", 1): {"type": "object"},
        ("text.join", 3): {"type": "object"},
        ("contact.create", 1): {
            "type": "object",
            "required": ["name", "address", "second"],
            "properties": {
                "name": {"type": "string"},
                "address": ADDRESS,
                "second": {"$ref": "#/$defs/Address"},
                "third": ADDRESS,
            },
            "$defs": {"Address": ADDRESS},
        },
        ("infer", 1): {"type": "object", "required": ["outputSchema"], "properties": {"outputSchema": {}}},
        ("typed", 1): {
            "type": "object",
            "properties": {
                "count": {"type": "integer"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "inner": {"type": "object", "properties": {"on": {"type": "boolean"}}},
                "kind": {"enum": ["a", "b"]},
                "free": {},
                "texts": {"type": "object", "additionalProperties": {"type": "string"}},
                "closed": {"type": "object", "properties": {"on": {}}, "additionalProperties": False},
                "either": {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            },
        },
    }
)


KEYS_BY_ID = {"*": ("id",)}
KNOWN_SECRETS = {name: timedelta(days=1) for name in ("A", "S", "API_KEY", "A" * 255)}


def found(*steps: Any, trigger: Any = None, actions: Actions = ACTIONS, **options: Any) -> list[Problem]:
    options = {"correlation_paths": KEYS_BY_ID, "secrets": KNOWN_SECRETS, **options}
    document = {"id": "w", "version": 1, "name": "n", "payloadSchemaRef": "p", "steps": list(steps)}
    if trigger is not None:
        document["trigger"] = trigger
    return publish_problems(parse_definition(document), actions, JlensEngine(), **options)


def seen(problems: Sequence[Problem]) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in problems]


def call(action_id: str = "text.join", version: int = 1, **config: Any) -> dict[str, Any]:
    return {"id": "call", "type": "action.call", "config": {"actionId": action_id, "version": version, **config}}


def assign(**assignments: str) -> dict[str, Any]:
    values = {path: {"$expr": source} for path, source in assignments.items()}
    return {"id": "assign", "type": "transform.assign", "config": {"assign": values}}


def wait(key: str = "payload.id", name: str = "REPLY", **config: Any) -> dict[str, Any]:
    config = {"eventName": name, "correlationKey": {"$expr": key}, **config}
    return {"id": "wait", "type": "event.wait", "config": config}
