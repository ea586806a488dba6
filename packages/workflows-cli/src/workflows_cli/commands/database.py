"""`workflows db upgrade` and `workflows setup`: what an installation needs before its first run."""

from __future__ import annotations

import os

import click
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest

from service_host.errors import StartRefused
from workflows_cli.dev.state import StackState
from workflows_cli.embedded.temporal import AUTHORED_SEARCH_ATTRIBUTES
from workflows_cli.migrations.upgrade import current, upgrade
from workflows_cli.session import Session, command


@click.group("db")
def db_group() -> None:
    """The schema of the authored runtime."""


@db_group.command("upgrade")
@click.option("--url", help="postgresql:// URL of a role that may create tables and roles; else WORKFLOWS_ADMIN_URL.")
@command
async def upgrade_(session: Session, url: str | None) -> int:
    """Bring the schema to the revision of this release."""
    chosen = url or os.environ.get("WORKFLOWS_ADMIN_URL")
    if not chosen and session.dev_directory is not None:
        chosen = StackState.read(session.dev_directory).admin_url
    if not chosen:
        raise StartRefused.one(
            "SETTING_MISSING",
            "WORKFLOWS_ADMIN_URL",
            "is not set; give it, --url or --dev: a postgresql:// URL of a role that may create tables and roles",
        )
    before = current(chosen)
    upgrade(chosen)
    after = current(chosen)
    text = f"schema is at {after}" if before == after else f"schema went from {before or 'nothing'} to {after}"
    session.emit({"before": before, "after": after}, text)
    return 0


@click.command("setup")
@command
async def setup(session: Session) -> int:
    """Register the search attributes of runs in the namespace."""
    client = await session.temporal()
    namespace = session.settings.temporal_namespace
    listed = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=namespace))
    missing = {name: kind for name, kind in AUTHORED_SEARCH_ATTRIBUTES.items() if name not in listed.custom_attributes}
    if missing:
        kinds = {name: IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{kind.upper()}") for name, kind in missing.items()}
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=namespace, search_attributes=kinds)
        )
    text = f"registered {', '.join(sorted(missing))}" if missing else "every search attribute is registered"
    session.emit({"namespace": namespace, "registered": sorted(missing)}, text)
    return 0
