"""Schemas inside steps: of what an AI step's model must keep, of the answer to a human task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from workflows_core.actions.answers import answer_schema_problems
from workflows_core.actions.json_schemas import schema_problems
from workflows_core.definitions.model import ActionCallStep, HumanTaskStep
from workflows_core.errors import Problem

INPUT_FIELD = "outputSchema"
"""The input field through which an action gets it."""

_CODE = "INVALID_AI_OUTPUT_SCHEMA"


def output_schema_problems(
    path: str, step: ActionCallStep, input_schema: Mapping[str, Any] | None
) -> Iterator[Problem]:
    """The schema is there where the action needs it, in the field of its mode, and a good one of an object.

    Args:
        path: Of the step.
        step: The step.
        input_schema: Of its action; None for one that is not known.
    """
    config = step.config
    needed = input_schema is not None and INPUT_FIELD in input_schema.get("required", ())
    field = "aiOutputSchemaText" if config.ai_output_schema_mode == "advanced" else "aiOutputSchema"
    where = f"{path}.config.{field}"
    try:
        schema = config.output_schema()
    except (ValueError, RecursionError) as error:
        yield Problem(_CODE, f"is not JSON: {error}", where, step_id=step.id)
        return
    if schema is None:
        if needed and INPUT_FIELD not in config.input_mapping:
            message = (
                f"{config.action_id}@{config.version} needs a schema of its output: set aiOutputSchemaMode to simple "
                "with aiOutputSchema (an object), or to advanced with aiOutputSchemaText (JSON text)"
            )
            yield Problem(_CODE, message, where, step_id=step.id)
        return
    if config.ai_output_schema_mode is None:
        message = "an output schema needs its mode: set aiOutputSchemaMode to simple or advanced"
        yield Problem(_CODE, message, f"{path}.config.aiOutputSchemaMode", step_id=step.id)
    problems = list(schema_problems(schema))
    for pointer, message in problems:
        yield Problem(_CODE, message, where + pointer, step_id=step.id)
    if not problems and schema.get("type") != "object":
        yield Problem(_CODE, 'must have "type": "object": the step\'s output is one', where, step_id=step.id)


def response_schema_problems(path: str, step: HumanTaskStep) -> Iterator[Problem]:
    """The schema of a task's answer is a good one, and can be checked within bounds."""
    schema = step.config.response_schema
    if schema is not None:
        for pointer, message in answer_schema_problems(schema):
            where = f"{path}.config.responseSchema{pointer}"
            yield Problem("INVALID_RESPONSE_SCHEMA", message, where, step_id=step.id)
