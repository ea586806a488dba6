"""Payload schemas of a tenant, by ref. Every function needs a connection whose transaction has its tenant set.

Built-in schemas have no row; `validation.builtin_schemas` has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.storage.json_text import json_text
from workflows_core.storage.rows import Row

Stored = Literal["created", "changed", "unchanged"]
"""What storing something did."""


_UPSERT = text(
    """
    INSERT INTO workflow_payload_schemas AS s (tenant, ref, schema_json)
    VALUES (current_setting('workflows.tenant'), :ref, CAST(:schema AS jsonb))
    ON CONFLICT (tenant, ref) DO UPDATE SET schema_json = excluded.schema_json, updated_at = now()
     WHERE s.schema_json <> excluded.schema_json
    RETURNING CASE WHEN s.xmax = 0 THEN 'created' ELSE 'changed' END
    """
)
_GET = text(
    """
    SELECT ref, schema_json, created_at, updated_at FROM workflow_payload_schemas
     WHERE tenant = current_setting('workflows.tenant') AND ref = :ref
    """
)
_LIST = text(
    """
    SELECT ref, created_at, updated_at FROM workflow_payload_schemas
     WHERE tenant = current_setting('workflows.tenant') ORDER BY ref
    """
)


@dataclass(frozen=True, slots=True)
class PayloadSchemaSummary(Row):
    """A schema without its content; `updated_at` is its last change."""

    ref: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class PayloadSchemaRow(PayloadSchemaSummary):
    """A schema."""

    schema_json: Mapping[str, Any]


async def upsert_schema(conn: AsyncConnection, ref: str, schema: Mapping[str, Any]) -> Stored:
    """Stores a schema that was checked, in place of the one with this ref; says what that did."""
    found = (await conn.execute(_UPSERT, {"ref": ref, "schema": json_text(schema)})).scalar_one_or_none()
    return "unchanged" if found is None else cast("Stored", found)


async def get_schema(conn: AsyncConnection, ref: str) -> PayloadSchemaRow | None:
    """The tenant's schema with this ref, or None."""
    row = (await conn.execute(_GET, {"ref": ref})).one_or_none()
    return None if row is None else PayloadSchemaRow.of(row)


async def list_schemas(conn: AsyncConnection) -> list[PayloadSchemaSummary]:
    """The tenant's schemas by ref."""
    return [PayloadSchemaSummary.of(row) for row in await conn.execute(_LIST)]
