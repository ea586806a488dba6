"""An event on its way into the stream: checked once, then inserted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Json, Problem, Refused
from workflows_core.interpreter.correlation import MAX_KEYS, key_fault, key_text
from workflows_core.storage.json_text import is_storable, json_text, payload_fault
from workflows_core.storage.statements import coded_errors

_PUBLISH = text(
    "SELECT workflow_publish_event(:tenant, :event_id, :event_name, CAST(:payload AS jsonb), :correlation_key,"
    " CAST(:correlation_keys AS text[]), :payload_schema_ref, CAST(:occurred_at AS timestamptz))"
)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that may be published; `of` makes them and refuses every other.

    Attributes:
        tenant: Tenant of the event.
        event_id: The same id is published once.
        event_name: Name that waits and triggers know.
        payload: JSON value.
        keys: The publisher's correlation keys, each once; with none, keys are derived from the payload.
        payload_schema_ref: Name of the payload's schema.
        occurred_at: The publisher's own time.
    """

    tenant: str
    event_id: str
    event_name: str
    payload: Json
    keys: tuple[str, ...]
    payload_schema_ref: str | None
    occurred_at: datetime | None

    @classmethod
    def of(
        cls,
        *,
        tenant: str,
        event_id: str,
        event_name: str,
        payload: Json,
        keys: Sequence[str | None] = (),
        payload_schema_ref: str | None = None,
        occurred_at: datetime | None = None,
    ) -> NewEvent:
        """As the attributes; blank keys are left out.

        Raises:
            Refused: `EVENT_INVALID`, with everything that is wrong.
        """
        kept = tuple(dict.fromkeys(key for one in keys if (key := key_text(one)) is not None))
        event = cls(tenant, event_id, event_name, payload, kept, payload_schema_ref, occurred_at)
        problems = event._problems()
        if problems:
            raise Refused(problems)
        return event

    def _problems(self) -> list[Problem]:
        names = {"tenant": self.tenant, "eventId": self.event_id, "eventName": self.event_name}
        if self.payload_schema_ref is not None:
            names["payloadSchemaRef"] = self.payload_schema_ref
        problems = [
            _wrong(field, "must be UTF-8 text that is not empty and has no NUL")
            for field, value in names.items()
            if not value.strip() or not is_storable(value)
        ]
        beside = (self.tenant, self.event_name, self.event_id)
        too_long = [("eventId", key_fault("", *beside))]
        too_long += [("correlationKey", key_fault(key, "", "")) for key in self.keys]
        if not any(fault for _, fault in too_long):
            too_long = [("correlationKey", key_fault(key, *beside)) for key in self.keys]
        problems += [_wrong(path, fault) for path, fault in too_long if fault is not None]
        if not is_storable(list(self.keys)):
            problems.append(_wrong("correlationKey", "must have no NUL and no half of a surrogate pair"))
        if len(self.keys) > MAX_KEYS:
            message = f"the event has {len(self.keys)} correlation keys, at most {MAX_KEYS} are taken"
            problems.append(_wrong("correlationKeys", message))
        fault = payload_fault(self.payload)
        if fault is not None:
            problems.append(_wrong("payload", fault))
        if self.occurred_at is not None and not _is_in_range(self.occurred_at):
            problems.append(_wrong("occurredAt", "must be a time with its zone in the years 1 to 9999 of UTC"))
        return problems


async def insert_event(conn: AsyncConnection, event: NewEvent) -> bool:
    """Publishes in the caller's transaction; False when the tenant has an event of this id already.

    Raises:
        Refused: `EVENT_CONFLICT`, the id is taken by another content; `EVENT_INVALID` for what only the database can
            tell, such as a payload that is too large there.
    """
    values = {
        "tenant": event.tenant,
        "event_id": event.event_id,
        "event_name": event.event_name,
        "payload": json_text(event.payload),
        "correlation_key": event.keys[0] if len(event.keys) == 1 else None,
        "correlation_keys": list(event.keys) if len(event.keys) > 1 else None,
        "payload_schema_ref": event.payload_schema_ref,
        "occurred_at": event.occurred_at,
    }
    with coded_errors():
        return bool((await conn.execute(_PUBLISH, values)).scalar_one())


def _wrong(path: str, message: str) -> Problem:
    return Problem("EVENT_INVALID", message, path)


def _is_in_range(at: datetime) -> bool:
    try:
        return at.tzinfo is not None and at.astimezone(UTC).tzinfo is UTC
    except OverflowError:
        return False
