"""A tenant's rules of redaction. Every function needs a connection whose transaction has its tenant set."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.redaction import Redaction
from workflows_core.storage.json_text import json_text

_GET = text("SELECT rules_json FROM workflow_redaction WHERE tenant = current_setting('workflows.tenant')")
_SET = text(
    """
    INSERT INTO workflow_redaction (tenant, rules_json, updated_by)
    VALUES (current_setting('workflows.tenant'), CAST(:rules AS jsonb), :updated_by)
    ON CONFLICT (tenant) DO UPDATE
       SET rules_json = excluded.rules_json, updated_by = excluded.updated_by, updated_at = now()
    """
)


async def get_redaction(conn: AsyncConnection) -> Redaction:
    """The tenant's rules; none of its own when it has set none."""
    found = (await conn.execute(_GET)).scalar_one_or_none()
    return Redaction() if found is None else Redaction.parse(found)


async def set_redaction(conn: AsyncConnection, redaction: Redaction, *, updated_by: str | None = None) -> None:
    """Puts these rules in place of the tenant's."""
    await conn.execute(_SET, {"rules": json_text(redaction.to_json()), "updated_by": updated_by})
