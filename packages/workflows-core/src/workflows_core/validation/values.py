"""Finding the expressions and secret references of a definition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from workflows_core.definitions.model import STEP_MODELS, Expr, Model, SecretRef
from workflows_core.definitions.walk import field_path

Found = tuple[str, Expr | SecretRef]


def references_of(path: str, owner: Model) -> Iterator[Found]:
    """Every expression and secret reference in a step or trigger, with its path; not those of steps inside it."""
    for name, field in type(owner).model_fields.items():
        yield from _in_value(field_path(path, field.alias or name), getattr(owner, name))


def _in_value(path: str, value: Any) -> Iterator[Found]:
    if isinstance(value, (Expr, SecretRef)):
        yield path, value
    elif isinstance(value, Model):
        if type(value) not in _STEPS:
            yield from references_of(path, value)
    elif isinstance(value, dict):
        for key, nested in value.items():
            yield from _in_value(field_path(path, key), nested)
    elif isinstance(value, list):
        for index, nested in enumerate(value):
            yield from _in_value(field_path(path, index), nested)


_STEPS = frozenset(STEP_MODELS.values())
