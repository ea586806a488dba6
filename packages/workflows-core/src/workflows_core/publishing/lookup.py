"""Workflows and versions by what people call them, and what is said when there is none."""

from __future__ import annotations

import difflib

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Problem, Refused
from workflows_core.storage.admission import published_versions
from workflows_core.storage.definitions import find, get_version, list_definitions
from workflows_core.storage.rows import DefinitionRow, VersionRow


async def find_workflow(conn: AsyncConnection, workflow: str) -> DefinitionRow:
    """The tenant's workflow with this key or id.

    Raises:
        Refused: `WORKFLOW_UNKNOWN`.
    """
    found = await find(conn, workflow)
    if found is None:
        raise await unknown_workflow(conn, workflow)
    return found


async def find_version(
    conn: AsyncConnection, workflow: str, version: int | None = None
) -> tuple[DefinitionRow, VersionRow]:
    """A workflow (key or id) with a published version of it, the newest for None.

    Raises:
        Refused: `WORKFLOW_UNKNOWN`, `WORKFLOW_NOT_PUBLISHED`, `WORKFLOW_VERSION_UNKNOWN`.
    """
    definition = await find_workflow(conn, workflow)
    found = await get_version(conn, definition.workflow_id, version)
    if found is None:
        raise await no_version(conn, definition.workflow_id, definition.key, version)
    return definition, found


async def unknown_workflow(conn: AsyncConnection, workflow: str) -> Refused:
    """`WORKFLOW_UNKNOWN`, with those that there are."""
    keys = [row.key for row in await list_definitions(conn)]
    close = difflib.get_close_matches(workflow, keys, n=1)
    known = f"there are {', '.join(keys[:10])}" if keys else "there are none; import one"
    message = f"this tenant has no workflow {workflow!r}: {known}"
    return Refused([Problem("WORKFLOW_UNKNOWN", message, "workflow", suggestion=close[0] if close else None)])


async def no_version(conn: AsyncConnection, workflow_id: str, key: str, version: int | None) -> Refused:
    """`WORKFLOW_NOT_PUBLISHED`, or `WORKFLOW_VERSION_UNKNOWN` with those that there are."""
    published = await published_versions(conn, workflow_id)
    if not published:
        message = f"workflow {key!r} has only a draft: publish it first"
        return Refused.one("WORKFLOW_NOT_PUBLISHED", message, "workflow")
    shown = ", ".join(str(number) for number in published[-10:])
    message = f"workflow {key!r} has no version {version}; published are {shown}"
    return Refused.one("WORKFLOW_VERSION_UNKNOWN", message, "version", suggestion=str(published[-1]))
