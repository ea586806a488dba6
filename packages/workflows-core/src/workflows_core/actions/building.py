"""Short forms for authors of packs: strict object schemas, short pure actions, transactional actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workflows_core.actions.action import MAX_SHORT_MS, Action, ActionContext, Effect, Handler
from workflows_core.errors import Json

LIST_LIMIT: Mapping[str, Any] = {
    "type": "integer",
    "minimum": 1,
    "maximum": 200,
    "description": "How many at most; default 100.",
}
"""Input of every action that lists."""


def object_schema(properties: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    """Schema of an object with these fields and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def output_schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Schema of an output: every field is always there."""
    return object_schema(properties, list(properties))


def short_action(
    action_id: str,
    version: int,
    run: Callable[[dict[str, Any]], Json],
    *,
    description: str,
    category: str,
    input_schema: Mapping[str, Any],
    output_schema: Mapping[str, Any],
) -> Action:
    """A pure function of the input as an action that runs inside the workflow task.

    Args:
        action_id: Dotted lower-case name.
        version: From 1.
        run: Gets a valid input; raises `ActionFailed` to fail its step. It must be quick for every
            input, since nothing interrupts it.
        description: One sentence for authors.
        category: Group in a designer.
        input_schema: See `object_schema`.
        output_schema: See `output_schema`.
    """

    async def handler(value: Any, _context: ActionContext) -> Json:
        return run(value)

    return Action(
        id=action_id,
        version=version,
        handler=handler,
        input_schema=input_schema,
        output_schema=output_schema,
        description=description,
        category=category,
        effect=Effect.PURE,
        timeout_ms=MAX_SHORT_MS,
        short=True,
    )


def transactional_action(
    action_id: str,
    handler: Handler,
    *,
    description: str,
    category: str,
    input_schema: Mapping[str, Any],
    output: Mapping[str, Any],
) -> Action:
    """Version 1 of an action that works in the transaction which records its step: exactly once.

    Args:
        action_id: Dotted lower-case name.
        handler: Uses the context's `store` and `links`.
        description: One sentence for authors.
        category: Group in a designer.
        input_schema: See `object_schema`.
        output: Fields of the output, see `output_schema`.
    """
    return Action(
        id=action_id,
        version=1,
        handler=handler,
        input_schema=input_schema,
        output_schema=output_schema(output),
        description=description,
        category=category,
        effect=Effect.TRANSACTIONAL,
        timeout_ms=30_000,
    )
