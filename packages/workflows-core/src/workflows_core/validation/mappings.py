"""What an action call gives its action, against what the action asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

from jsonschema import Draft202012Validator

from workflows_core.actions.json_schemas import compile_schema, value_problems
from workflows_core.definitions.model import ActionCallStep, Expr, SecretRef, Value
from workflows_core.definitions.spelling import nearest
from workflows_core.definitions.templates import COMPOSE_TEXT
from workflows_core.definitions.walk import field_path, walk_value
from workflows_core.errors import Json, Problem
from workflows_core.validation.output_schemas import INPUT_FIELD, output_schema_problems

_SPECIAL = ("$expr", "$secret")
_NOT_SPECIAL = "{!r} has no special meaning and is passed on as it is; special are $expr and $secret"
_MISPLACED = (
    "{!r} is the name of a field here: a mapping as a whole is no expression, so give each field a value of its own"
)


class KnownAction(Protocol):
    """What validation needs of an action."""

    @property
    def input_schema(self) -> Mapping[str, Any]:
        """JSON Schema of the input."""
        ...

    @property
    def takes_secrets(self) -> bool:
        """Whether a secret may be in its input."""
        ...


class KnownActions(Protocol):
    """What validation needs of an action registry."""

    def ids(self) -> Sequence[str]:
        """Ids of all actions."""
        ...

    def versions(self, action_id: str, /) -> Sequence[int]:
        """Versions of an action, empty when there is none."""
        ...

    def get(self, action_id: str, version: int, /) -> KnownAction | None:
        """One action, or None."""
        ...

    def lacking(self, action_id: str, version: int, /) -> str | None:
        """Which process lacks a known action, in words; None when none does, or nobody has looked."""
        ...


def action_problems(path: str, step: ActionCallStep, actions: KnownActions) -> Iterator[Problem]:
    """The action is known and served, and every field that it requires is mapped."""
    config = step.config
    action = actions.get(config.action_id, config.version)
    yield from output_schema_problems(path, step, None if action is None else action.input_schema)
    if action is None:
        yield _unknown_action(f"{path}.config.actionId", step, actions)
        return
    lacking = actions.lacking(config.action_id, config.version)
    if lacking is not None:
        yield Problem(
            "ACTION_NOT_ANNOUNCED",
            f"action {config.action_id}@{config.version} is known, but {lacking}; a run that gets here waits for it, "
            "and fails as ActionUnavailable when it does not come",
            f"{path}.config.actionId",
            severity="warning",
            step_id=step.id,
        )
    if config.outputs and config.action_id != COMPOSE_TEXT:
        message = f"only {COMPOSE_TEXT} reads it; {config.action_id} gets what inputMapping says"
        where = f"{path}.config.outputs"
        yield Problem("INVALID_ACTION_CONFIG", message, where, severity="warning", step_id=step.id)
    yield from _secret_problems(f"{path}.config.inputMapping", step, action)
    schema = action.input_schema
    for missing in missing_fields(f"{path}.config.inputMapping", config.input_mapping, schema, schema):
        where, field, given = missing
        if where == f"{path}.config.inputMapping.{INPUT_FIELD}":
            continue  # Said by `output_schema_problems`, which knows the step's own fields for it.
        yield Problem(
            "MISSING_REQUIRED_MAPPING",
            f"action {config.action_id}@{config.version} requires {field!r}, and nothing is mapped to it",
            where,
            step_id=step.id,
            suggestion=nearest(field, given),
        )
    for where, field, known in _unknown_fields(f"{path}.config.inputMapping", config.input_mapping, schema, schema):
        yield Problem(
            "MAPPING_TYPE_UNKNOWN",
            f"action {config.action_id}@{config.version} has no field {field!r} here, only {', '.join(known)}, and "
            "refuses an input with another one",
            where,
            severity="warning",
            step_id=step.id,
            suggestion=nearest(field, known),
        )
    for where, message in literal_problems(f"{path}.config.inputMapping", config.input_mapping, schema, schema):
        yield Problem(
            "MAPPING_TYPE_INCOMPATIBLE",
            f"action {config.action_id}@{config.version} refuses this value: it {message}",
            where,
            step_id=step.id,
        )


def _secret_problems(path: str, step: ActionCallStep, action: KnownAction) -> Iterator[Problem]:
    if action.takes_secrets:
        return
    message = (
        f"action {step.config.action_id}@{step.config.version} only gives back or stores what it gets, so it gets no "
        "secret; use the secret in the step that sends it"
    )
    for where, value in walk_value(path, dict(step.config.input_mapping)):
        if isinstance(value, SecretRef):
            yield Problem("SECRET_NOT_ALLOWED", message, where, step_id=step.id)


def literal_problems(
    path: str, given: Mapping[str, Value], schema: Mapping[str, Any], root: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Path and what is wrong, of each value in the document itself that the field's schema does not allow.

    What an expression gives is known at run time only; a secret is a text.
    """
    for field, value in given.items():
        nested = schema.get("properties", {}).get(field, _of_others(schema))
        if not isinstance(nested, Mapping):
            continue
        nested, where = resolved(nested, root), field_path(path, field)
        kinds = nested.get("type")
        allowed = {kinds} if isinstance(kinds, str) else set(kinds or ())
        if isinstance(value, SecretRef):
            if allowed and "string" not in allowed:
                yield where, f"must be {' or '.join(sorted(allowed))}, and a secret is a text"
        elif isinstance(value, dict) and (not allowed or "object" in allowed) and _describes_fields(nested):
            yield from literal_problems(where, value, nested, root)
        elif not any(isinstance(part, (Expr, SecretRef)) for _, part in walk_value(where, value)):
            # The root's, so that references lead to where they do when the action is called.
            validator = cast(Draft202012Validator, compile_schema(root).evolve(schema=nested))
            for problem in value_problems(validator, cast(Json, value)):
                yield where + _dotted(problem.pointer), problem.message


def _of_others(schema: Mapping[str, Any]) -> Any:
    """Schema of the fields that it does not name, where it has one for all of them."""
    return None if "patternProperties" in schema else schema.get("additionalProperties")


def _describes_fields(schema: Mapping[str, Any]) -> bool:
    return "properties" in schema or isinstance(_of_others(schema), Mapping)


def _unknown_fields(
    path: str, given: Mapping[str, Value], schema: Mapping[str, Any], root: Mapping[str, Any]
) -> Iterator[tuple[str, str, list[str]]]:
    """Path, name and the fields that there are, of each field of a mapping that a schema does not let in."""
    known = schema.get("properties", {})
    if _of_others(schema) is False:
        # Of one that looks special `special_key_problems` tells.
        strange = [field for field in given if field not in known and not field.startswith("$")]
        yield from ((field_path(path, field), field, list(known)) for field in strange)
    for field, value in given.items():
        nested = known.get(field)
        if isinstance(value, dict) and isinstance(nested, Mapping):
            yield from _unknown_fields(field_path(path, field), value, resolved(nested, root), root)


def _dotted(pointer: str) -> str:
    parts = (part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts)


def special_key_problems(path: str, mapping: Mapping[str, Value], step_id: str | None) -> Iterator[Problem]:
    """Keys that look like a special one and are none."""
    for parent, value in walk_value(path, dict(mapping)):
        if isinstance(value, dict):
            for key in value:
                if key.startswith("$"):
                    # Below the mapping itself these two make an expression and a secret of the object.
                    misplaced = key in _SPECIAL
                    yield Problem(
                        "UNKNOWN_SPECIAL_KEY",
                        (_MISPLACED if misplaced else _NOT_SPECIAL).format(key),
                        field_path(parent, key),
                        severity="warning",
                        step_id=step_id,
                        suggestion=None if misplaced else nearest(key, _SPECIAL),
                    )


def _unknown_action(path: str, step: ActionCallStep, actions: KnownActions) -> Problem:
    name, version = step.config.action_id, step.config.version
    versions = actions.versions(name)
    if versions:
        known = ", ".join(str(known) for known in versions)
        message, suggestion = f"action {name!r} has no version {version}; it has {known}", f"{name}@{versions[-1]}"
        return Problem("UNKNOWN_ACTION", message, path, step_id=step.id, suggestion=suggestion)
    # Nobody is known to lack an action where nobody has looked, as without a database.
    looked = actions.lacking(name, version) is not None
    message = f"no action is called {name!r}: it is not one of core's, and " + (
        "no process has announced it within a day; correct the name, or start the process that has it first"
        if looked
        else "what processes announce was not looked at: correct the name, or look with `validate --announced`"
    )
    return Problem("UNKNOWN_ACTION", message, path, step_id=step.id, suggestion=nearest(name, actions.ids()))


def missing_fields(
    path: str, given: Mapping[str, Value], schema: Mapping[str, Any], root: Mapping[str, Any]
) -> Iterator[tuple[str, str, list[str]]]:
    """Path, name and the siblings that are given, of each required field that a mapping lacks.

    Nested only where the document itself holds the object: what an expression gives is known at run time only.
    """
    for field in schema.get("required", ()):
        if field not in given:
            yield field_path(path, field), field, list(given)
    for field, nested in schema.get("properties", {}).items():
        value = given.get(field)
        if isinstance(value, dict) and isinstance(nested, Mapping):
            yield from missing_fields(field_path(path, field), value, resolved(nested, root), root)


def resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a `$ref` into its own document names; the schema itself where it has none."""
    reference = schema.get("$ref")
    if reference == "#":
        return root
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return schema
    found: Any = root
    for part in reference[2:].split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
