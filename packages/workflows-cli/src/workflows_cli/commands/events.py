"""`workflows events publish | list`."""

from __future__ import annotations

import uuid

import click

from workflows_cli.output import table
from workflows_cli.session import Session, command, parse_json
from workflows_core.storage.events import list_events, publish_event


@click.group("events")
def events_group() -> None:
    """The event stream."""


@events_group.command("publish")
@click.argument("name")
@click.option("--key", help="Correlation key; without one, keys are derived from the payload.")
@click.option("--payload", default="{}", show_default=True, help="JSON payload of the event.")
@click.option("--event-id", help="Id of the event; the same id is published once. By default a new one.")
@command
async def publish(session: Session, name: str, key: str | None, payload: str, event_id: str | None) -> int:
    """Publish event NAME."""
    body = parse_json(payload, "--payload")
    chosen = event_id or str(uuid.uuid4())
    async with session.db.tenant(session.tenant) as conn:
        fresh = await publish_event(
            conn, tenant=session.tenant, event_id=chosen, event_name=name, payload=body, correlation_key=key
        )
    text = f"published {name} as {chosen}" if fresh else f"event {chosen} was published before; nothing changed"
    session.emit({"eventId": chosen, "published": fresh}, text)
    return 0


@events_group.command("list")
@click.option("--name", help="Only events of this name.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@command
async def list_(session: Session, name: str | None, limit: int) -> int:
    """List events with what became of them, newest first."""
    async with session.db.tenant(session.tenant) as conn:
        rows = [row.to_json() for row in await list_events(conn, name=name, limit=limit)]
    session.emit(rows, table(rows, ("eventId", "eventName", "keys", "status", "deliveries", "createdAt")))
    return 0
