"""Input and output of `http.request`."""

from __future__ import annotations

from typing import Any, Final

from workflows_core.actions.building import object_schema, output_schema

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

DEFAULT_TIMEOUT_MS: Final = 30_000

_SCALAR = ["string", "number", "boolean", "null"]


def request_input(max_timeout_ms: int) -> dict[str, Any]:
    """Schema of the input; `timeoutMs` goes up to a limit."""
    return object_schema(
        {
            "method": {"enum": list(METHODS), "description": "Default `GET`."},
            "url": {
                "type": "string",
                "minLength": 1,
                "maxLength": 8192,
                "description": "Absolute, http or https, without user name and password.",
            },
            "query": {
                "type": "object",
                "additionalProperties": {
                    "type": [*_SCALAR, "array"],
                    "items": {"type": _SCALAR},
                },
                "description": "Parameters added to the URL, over those of the same name; a list repeats one, "
                "null leaves it out.",
            },
            "headers": {
                "type": "object",
                "additionalProperties": {"type": "string", "maxLength": 8192},
                "description": "Sent as they are. `Idempotency-Key` is the step's key unless given here.",
            },
            "auth": {
                "type": "object",
                "oneOf": [
                    object_schema({"type": {"const": "bearer"}, "token": {"type": "string"}}, ["type", "token"]),
                    object_schema(
                        {"type": {"const": "basic"}, "username": {"type": "string"}, "password": {"type": "string"}},
                        ["type", "username", "password"],
                    ),
                ],
                "description": '`{"type": "bearer", "token"}` or `{"type": "basic", "username", "password"}`.',
            },
            "text": {"type": "string", "description": "Body as text; this or json."},
            "json": {"description": "Body as a JSON value; this or text."},
            "timeoutMs": {
                "type": "integer",
                "minimum": 1,
                "maximum": max_timeout_ms,
                "description": f"Milliseconds for everything, redirects included; default {DEFAULT_TIMEOUT_MS}.",
            },
            "followRedirects": {"type": "boolean", "description": "Default true."},
            "expectedStatuses": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "integer", "minimum": 100, "maximum": 599},
                "description": "Statuses that succeed; default 200 to 299.",
            },
        },
        ["url"],
    )


REQUEST_OUTPUT: Final = output_schema(
    {
        "status": {"type": "integer", "description": "The status."},
        "headers": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Names in lower case; the values of a repeated one joined with a comma.",
        },
        "body": {"type": ["string", "null"], "description": "The body, or null when it is JSON."},
        "bodyEncoding": {
            "enum": ["text", "base64", None],
            "description": "How `body` is written: as `text`, as `base64` when it is no text, null when it is JSON.",
        },
        "json": {"description": "The value, when the answer is JSON; else null."},
    }
)
