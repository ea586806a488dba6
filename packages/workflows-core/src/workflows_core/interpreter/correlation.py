"""The correlation keys of an event: explicit, else derived from its payload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

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

MAX_KEY_BYTES: Final = 2048
"""Of a correlation key in UTF-8."""

MAX_KEYS: Final = 100
"""Of an event that is published: each is a lock of its own while it is routed."""

MAX_LOCKED_KEYS: Final = 1000
"""Of an event that is there from before: with more of them the server may have no lock left for anybody else."""

MAX_ID_BYTES: Final = 1280
"""Of an event's id: it stands beside the id of each wait that the event goes to."""

MAX_NAMED_BYTES: Final = 2560
"""Of a key with everything that it is found by: an index of the database takes 2,704 bytes, its own included."""


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


def key_fault(key: str, tenant: str, event_name: str, event_id: str = "", *, most: int = MAX_KEY_BYTES) -> str | None:
    """Why no event can be found by a key, as a sentence; None when one can. `workflow_publish_event` says the same.

    Args:
        key: A correlation key; the empty text for an event without one.
        tenant: Whose event or wait it is.
        event_name: The event's name.
        event_id: Its id; a wait has none.
        most: Bytes that the key may have.
    """
    sizes = [_bytes(text) for text in (key, tenant, event_name, event_id)]
    if sizes[0] > most:
        return f"the correlation key has {sizes[0]} bytes, at most {most} are taken"
    if sizes[-1] > MAX_ID_BYTES:
        return f"the event id has {sizes[-1]} bytes, at most {MAX_ID_BYTES} are taken"
    if sum(sizes) > MAX_NAMED_BYTES:
        what = "tenant, event id, event name" if event_id else "tenant, event name"
        return f"{what} and correlation key have {sum(sizes)} bytes together, at most {MAX_NAMED_BYTES} are taken"
    return None


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
