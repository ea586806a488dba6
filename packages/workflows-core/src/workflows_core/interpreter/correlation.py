"""The correlation keys of an event: explicit, else derived from its payload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DEFAULT_PATHS: Mapping[str, Sequence[str]] = {
    "TICKET_CREATED": ("ticketId",),
    "TICKET_UPDATED": ("ticketId",),
    "TICKET_CLOSED": ("ticketId",),
    "TICKET_COMMENT_ADDED": ("ticketId",),
    "TICKET_RESPONSE_STATE_CHANGED": ("ticketId",),
    "INVOICE_FINALIZED": ("invoiceId", "clientId"),
    "INVOICE_SENT": ("invoiceId", "clientId"),
    "INVOICE_STATUS_CHANGED": ("invoiceId", "clientId"),
    "*": ("ticketId", "clientId", "invoiceId", "projectId", "paymentId"),
}
"""Payload paths by event name; `*` is for every event and comes last. A setting replaces the whole."""


def correlation_keys(
    event_name: str,
    payload: Any,
    explicit_key: str | None,
    paths: Mapping[str, Sequence[str]] = DEFAULT_PATHS,
) -> tuple[str, ...]:
    """All distinct keys of an event, in order; an explicit key is the only one.

    Args:
        event_name: Name of the event.
        payload: Its payload.
        explicit_key: The publisher's key; blank counts as absent.
        paths: Dotted payload paths by event name.
    """
    if explicit_key is not None and explicit_key.strip():
        return (explicit_key.strip(),)
    keys: dict[str, None] = {}
    for path in (*paths.get(event_name, ()), *paths.get("*", ())):
        found = payload
        for segment in path.split("."):
            found = found.get(segment) if isinstance(found, Mapping) else None
        key = key_text(found)
        if key is not None:
            keys[key] = None
    return tuple(keys)


def key_text(value: Any) -> str | None:
    """A correlation key as text, or None when the value cannot be one (null, boolean, object, blank)."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    if isinstance(value, str):
        return value.strip() or None
    return None
