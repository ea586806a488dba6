"""`log.write`: a line of the log, bound to its run and step."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any, Final

from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.actions.building import object_schema, output_schema
from workflows_core.errors import Json

MAX_CONTEXT_BYTES: Final = 64 * 1024
"""A line's context above this is replaced by its size."""

_LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING, "ERROR": logging.ERROR}


def log_actions() -> Sequence[Action]:
    """log.write."""
    return (
        Action(
            id="log.write",
            version=1,
            handler=_write,
            input_schema=object_schema(
                {
                    "message": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 4096,
                        "description": "The line.",
                    },
                    "level": {"enum": list(_LEVELS), "description": "Default `INFO`."},
                    "context": {
                        "type": "object",
                        "description": f"Values that belong to it; over {MAX_CONTEXT_BYTES} bytes only their size.",
                    },
                },
                ["message"],
            ),
            output_schema=output_schema({}),
            description="Writes a line to the log, with the run and the step; a repeated attempt writes it again.",
            category="log",
            effect=Effect.PURE,
            timeout_ms=10_000,
        ),
    )


async def _write(value: Any, context: ActionContext) -> Json:
    fields = value.get("context")
    if fields is not None:
        size = len(json.dumps(fields, ensure_ascii=False).encode())
        if size > MAX_CONTEXT_BYTES:
            fields = {"truncated": True, "size": size, "max": MAX_CONTEXT_BYTES}
    level = _LEVELS[value.get("level", "INFO")]
    extra: dict[str, Json] = {"context_json": fields}
    logger = context.logger
    if isinstance(logger, logging.LoggerAdapter):
        # Before Python 3.13 an adapter replaces what a call adds, so both are given to the logger behind it.
        extra = {**(logger.extra or {}), **extra}
        logger = logger.logger
    logger.log(level, "%s", value["message"], extra=extra)
    return {}
