"""The check of an answer to a human task: one, for the run, for the inbox and for the simulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workflows_core.actions.json_schemas import compile_schema, value_problems


def answer_check(schema: Mapping[str, Any]) -> Callable[[Any], Sequence[str]]:
    """A function that says what is wrong with an answer, in sentences; nothing when it fits the JSON Schema."""
    validator = compile_schema(schema)
    return lambda answer: [str(problem) for problem in value_problems(validator, answer)]
