"""`workflows schemas import | list` and `workflows catalog import | list`."""

from __future__ import annotations

from collections.abc import Mapping

import click

from workflows_cli.output import table
from workflows_cli.session import Session, command, read_document
from workflows_core.publishing.contracts import import_events, import_schemas
from workflows_core.storage.event_catalog import list_catalog
from workflows_core.storage.payload_schemas import Stored, list_schemas
from workflows_core.validation.builtin_schemas import BUILTIN_SCHEMAS


@click.group("schemas")
def schemas_group() -> None:
    """Payload schemas of the tenant: what payloads of its runs and events look like."""


@schemas_group.command("import")
@click.argument("file")
@command
async def import_schemas_(session: Session, file: str) -> int:
    """Store the schemas in FILE: a JSON object from a ref, such as payload.TicketCreated.v1, to its JSON Schema.

    A version that is published already keeps the schema it was published with.
    """
    document = read_document(file)
    async with session.db.tenant(session.tenant) as conn:
        stored = await import_schemas(conn, document)
    _show(session, "ref", stored)
    return 0


@schemas_group.command("list")
@command
async def list_schemas_(session: Session) -> int:
    """List the refs that definitions may name, the built-in ones too."""
    async with session.db.tenant(session.tenant) as conn:
        own = [row.to_json() for row in await list_schemas(conn)]
    rows = [*({"ref": ref, "createdAt": None, "updatedAt": None} for ref in sorted(BUILTIN_SCHEMAS)), *own]
    session.emit(rows, table(rows, ("ref", "updatedAt")))
    return 0


@click.group("catalog")
def catalog_group() -> None:
    """The events that the tenant knows, and the schema of each one's payload."""


@catalog_group.command("import")
@click.argument("file")
@command
async def import_events_(session: Session, file: str) -> int:
    """Store the events in FILE: a JSON object from an event's name to {"payloadSchemaRef", "description"}."""
    document = read_document(file)
    async with session.db.tenant(session.tenant) as conn:
        stored = await import_events(conn, document)
    _show(session, "eventType", stored)
    return 0


@catalog_group.command("list")
@command
async def list_events_(session: Session) -> int:
    """List the events."""
    async with session.db.tenant(session.tenant) as conn:
        rows = [row.to_json() for row in await list_catalog(conn)]
    session.emit(rows, table(rows, ("eventType", "payloadSchemaRef", "description", "updatedAt")))
    return 0


def _show(session: Session, name: str, stored: Mapping[str, Stored]) -> None:
    rows = [{name: one, "result": result} for one, result in stored.items()]
    session.emit(rows, table(rows, (name, "result")))
