"""The events that a tenant knows. Every function needs a connection whose transaction has its tenant set."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.storage.payload_schemas import Stored
from workflows_core.storage.rows import Row

_UPSERT = text(
    """
    INSERT INTO event_catalog AS e (tenant, event_type, payload_schema_ref, description)
    VALUES (current_setting('workflows.tenant'), :event_type, :payload_schema_ref, :description)
    ON CONFLICT (tenant, event_type) DO UPDATE
       SET payload_schema_ref = excluded.payload_schema_ref, description = excluded.description, updated_at = now()
     WHERE (e.payload_schema_ref, e.description)
           IS DISTINCT FROM (excluded.payload_schema_ref, excluded.description)
    RETURNING CASE WHEN e.xmax = 0 THEN 'created' ELSE 'changed' END
    """
)
_COLUMNS = "event_type, payload_schema_ref, description, updated_at"
_GET = text(
    f"SELECT {_COLUMNS} FROM event_catalog"  # noqa: S608 - a constant of ours
    " WHERE tenant = current_setting('workflows.tenant') AND event_type = :event_type"
)
_LIST = text(
    f"SELECT {_COLUMNS} FROM event_catalog"  # noqa: S608 - a constant of ours
    " WHERE tenant = current_setting('workflows.tenant') ORDER BY event_type"
)


@dataclass(frozen=True, slots=True)
class CatalogEntry(Row):
    """An event that the tenant knows.

    Attributes:
        event_type: The name that it is published under.
        payload_schema_ref: Schema of its payload; None where nobody has said.
        description: For people.
        updated_at: Of the last change of the entry.
    """

    event_type: str
    payload_schema_ref: str | None
    description: str | None
    updated_at: datetime


async def upsert_event(
    conn: AsyncConnection, event_type: str, *, payload_schema_ref: str | None = None, description: str | None = None
) -> Stored:
    """Stores an entry in place of the one with this event type; says what that did."""
    values = {"event_type": event_type, "payload_schema_ref": payload_schema_ref, "description": description}
    found = (await conn.execute(_UPSERT, values)).scalar_one_or_none()
    return "unchanged" if found is None else cast("Stored", found)


async def get_event(conn: AsyncConnection, event_type: str) -> CatalogEntry | None:
    """The tenant's entry for this event type, or None."""
    row = (await conn.execute(_GET, {"event_type": event_type})).one_or_none()
    return None if row is None else CatalogEntry.of(row)


async def list_catalog(conn: AsyncConnection) -> list[CatalogEntry]:
    """The tenant's entries by event type."""
    return [CatalogEntry.of(row) for row in await conn.execute(_LIST)]
