"""Payload schemas that every tenant has without registering them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

EMPTY: Final = "payload.Empty.v1"
CLOCK_TRIGGER: Final = "payload.WorkflowClockTrigger.v1"

_TEXT: Mapping[str, Any] = {"type": "string", "minLength": 1}
_TIME: Mapping[str, Any] = {"type": "string", "format": "date-time"}

BUILTIN_SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    EMPTY: {
        "title": "No payload",
        "description": "An object without fields.",
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    },
    CLOCK_TRIGGER: {
        "title": "Start by the clock",
        "description": "What a schedule starts a run with when it has no payload of its own.",
        "type": "object",
        "required": [
            "triggerType",
            "scheduleId",
            "scheduledFor",
            "firedAt",
            "timezone",
            "workflowId",
            "workflowVersion",
        ],
        "properties": {
            "triggerType": {"enum": ["schedule", "recurring"]},
            "scheduleId": _TEXT,
            "scheduledFor": _TIME,
            "firedAt": _TIME,
            "timezone": _TEXT,
            "workflowId": _TEXT,
            "workflowVersion": {"type": "integer", "minimum": 1},
            "cron": _TEXT,
        },
        "additionalProperties": False,
    },
}
"""Schema by ref. They bind a tenant's workflows as its own schemas do, and nobody can replace them."""
