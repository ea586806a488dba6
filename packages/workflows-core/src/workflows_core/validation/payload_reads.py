"""What a definition reads from its payload, and writes there, against the payload's schema.

A schema says nothing about what it does not describe, so an unknown name is a warning: mostly a wrong spelling. Two
types that never meet are an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workflows_core.definitions.model import ActionCallStep, Definition, Expr, Value
from workflows_core.definitions.paths import parse_assign_path
from workflows_core.definitions.spelling import nearest
from workflows_core.definitions.walk import field_path, walk_steps
from workflows_core.errors import Problem
from workflows_core.validation.mappings import KnownActions, resolved
from workflows_core.validation.targets import assign_targets

_READ = re.compile(r"\s*payload((?:\.[A-Za-z_][A-Za-z0-9_]*)+)\s*")
"""An expression that is a path into the payload and nothing else: only its type can be told."""

_OPEN = ("additionalProperties", "patternProperties", "anyOf", "oneOf", "allOf", "if", "unevaluatedProperties")
"""What lets a schema allow names that are not among its `properties`."""


@dataclass(frozen=True, slots=True)
class _Unknown:
    """A name that the schema does not have; `known` are those it has there."""

    name: str
    known: Sequence[str]


def payload_problems_of(definition: Definition, actions: KnownActions, schema: Mapping[str, Any]) -> Iterator[Problem]:
    """`MAPPING_TYPE_INCOMPATIBLE`, `MAPPING_TYPE_UNKNOWN` and `ASSIGN_PATH_UNKNOWN`.

    Args:
        definition: A parsed document.
        actions: What it may call.
        schema: Of its payload.
    """
    for path, step in walk_steps(definition):
        for where, text, default_scope in assign_targets(path, step):
            yield from _assign_problems(where, text, default_scope, schema, step.id)
        if isinstance(step, ActionCallStep):
            action = actions.get(step.config.action_id, step.config.version)
            wanted: Mapping[str, Any] = {} if action is None else action.input_schema
            fields = _mapped(f"{path}.config.inputMapping", step.config.input_mapping, wanted, wanted)
            for where, source, field in fields:
                yield from _mapping_problems(where, source, field, schema, step.id)


def _assign_problems(
    where: str, text: str, default_scope: str | None, schema: Mapping[str, Any], step_id: str
) -> Iterator[Problem]:
    try:
        target = parse_assign_path(text, default_scope)
    except ValueError:
        return  # Said as INVALID_ASSIGN_PATH.
    found = _look_up(schema, target.segments) if target.scope == "payload" else None
    if isinstance(found, _Unknown):
        message = f"the payload's schema has no {found.name!r} there{_only(found, ', only ')}"
        suggestion = nearest(found.name, found.known)
        yield Problem("ASSIGN_PATH_UNKNOWN", message, where, severity="warning", step_id=step_id, suggestion=suggestion)


def _mapped(
    path: str, given: Mapping[str, Value], wanted: Mapping[str, Any], root: Mapping[str, Any]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Where, source and wanted schema of each value that is an expression, also inside objects of the document."""
    for name, value in given.items():
        field = wanted.get("properties", {}).get(name)
        field = resolved(field, root) if isinstance(field, Mapping) else {}
        where = field_path(path, name)
        if isinstance(value, Expr):
            yield where, value.source, field
        elif isinstance(value, dict):
            yield from _mapped(where, value, field, root)


def _mapping_problems(
    where: str, source: str, field: Mapping[str, Any], schema: Mapping[str, Any], step_id: str
) -> Iterator[Problem]:
    read = _READ.fullmatch(source)
    found = None if read is None else _look_up(schema, read[1].split(".")[1:])
    if isinstance(found, _Unknown):
        has = _only(found, "only ") or "no field"
        message = f"nothing is known of {source.strip()}: the payload's schema has {has} there"
        suggestion = nearest(found.name, found.known)
        yield Problem(
            "MAPPING_TYPE_UNKNOWN", message, where, severity="warning", step_id=step_id, suggestion=suggestion
        )
    elif found is not None:
        gives, takes = _kinds(found), _kinds(field)
        if gives and takes and not gives & takes:
            message = f"{source.strip()} is {_words(gives)} and the action takes {_words(takes)} here"
            yield Problem("MAPPING_TYPE_INCOMPATIBLE", message, where, step_id=step_id)


def _look_up(schema: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any] | _Unknown | None:
    """What the schema says of a path; None where it leaves that open."""
    here: Any = resolved(schema, schema)
    for name in names:
        properties = here.get("properties")
        if not isinstance(properties, Mapping) or any(here.get(keyword) for keyword in _OPEN):
            return None
        if name not in properties:
            return _Unknown(name, sorted(properties))
        here = properties[name]
        if not isinstance(here, Mapping):
            return None
        here = resolved(here, schema)
    return here if isinstance(here, Mapping) else None


def _kinds(schema: Mapping[str, Any]) -> frozenset[str]:
    """The types it allows, a whole number being a number as well; empty where it does not say."""
    kind = schema.get("type")
    kinds = frozenset([kind] if isinstance(kind, str) else kind or ())
    return kinds | {"number"} if "integer" in kinds else kinds


def _words(kinds: frozenset[str]) -> str:
    return " or ".join(sorted(kinds - ({"number"} if "integer" in kinds else set())))


def _only(unknown: _Unknown, before: str) -> str:
    return before + ", ".join(unknown.known) if unknown.known else ""
