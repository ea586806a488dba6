"""`workflows tokens create | list | revoke`."""

from __future__ import annotations

from datetime import timedelta
from typing import cast, get_args

import click

from workflows_cli.output import table
from workflows_cli.session import Session, command
from workflows_core.storage.api_tokens import ApiRole, create_token, list_tokens, revoke_token


@click.group("tokens")
def tokens_group() -> None:
    """Tokens of the HTTP API."""


@tokens_group.command("create")
@click.option("--name", required=True, help="Who uses it, and what for.")
@click.option("--role", required=True, type=click.Choice(get_args(ApiRole)), help="What it allows.")
@click.option("--expires-in-days", type=click.IntRange(1, 3650), help="By default it is good until it is revoked.")
@command
async def create(session: Session, name: str, role: str, expires_in_days: int | None) -> int:
    """Make a token for the tenant; it is shown once and kept nowhere."""
    lives_for = None if expires_in_days is None else timedelta(days=expires_in_days)
    async with session.db.tenant(session.tenant) as conn:
        row, token = await create_token(
            conn, name=name, role=cast("ApiRole", role), created_by=session.actor, lives_for=lives_for
        )
    text = f"{token}\n\ntoken {row.token_id} of tenant {session.tenant}, role {row.role}; it is not shown again"
    session.emit({**row.to_json(), "token": token}, text)
    return 0


@tokens_group.command("list")
@command
async def list_(session: Session) -> int:
    """List the tenant's tokens, without their secrets."""
    async with session.db.tenant(session.tenant) as conn:
        rows = [row.to_json() for row in await list_tokens(conn)]
    session.emit(rows, table(rows, ("tokenId", "name", "role", "createdBy", "expiresAt", "revokedAt", "lastUsedAt")))
    return 0


@tokens_group.command("revoke")
@click.argument("token_id")
@command
async def revoke(session: Session, token_id: str) -> int:
    """Make a token no good, at once."""
    async with session.db.tenant(session.tenant) as conn:
        row = await revoke_token(conn, token_id)
    session.emit(row.to_json(), f"token {row.token_id} ({row.name}) is revoked")
    return 0
