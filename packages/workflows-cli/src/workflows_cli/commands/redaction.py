"""`workflows redaction show | set`."""

from __future__ import annotations

import click

from workflows_cli.output import table
from workflows_cli.session import Session, command, read_document
from workflows_core.redaction import Redaction
from workflows_core.storage.redaction_rules import get_redaction, set_redaction


@click.group("redaction")
def redaction_group() -> None:
    """What people are not shown of the tenant's values."""


@redaction_group.command("show")
@command
async def show(session: Session) -> int:
    """Show the tenant's rules."""
    async with session.db.tenant(session.tenant) as conn:
        rules = await get_redaction(conn)
    _emit(session, rules)
    return 0


@redaction_group.command("set")
@click.argument("file")
@command
async def set_(session: Session, file: str) -> int:
    """Put the rules in FILE in place of the tenant's.

    FILE is a JSON object: keyPatterns, RE2 expressions for names of fields, and pointers, JSON pointers into values.
    Fields named like secret, token, password, api key or authorization are never shown, with or without rules.
    """
    rules = Redaction.parse(read_document(file))
    async with session.db.tenant(session.tenant) as conn:
        await set_redaction(conn, rules, updated_by=session.actor)
    _emit(session, rules)
    return 0


def _emit(session: Session, rules: Redaction) -> None:
    rows = [{"hides": "names that match", "rule": pattern} for pattern in rules.key_patterns]
    rows += [{"hides": "what stands at", "rule": pointer} for pointer in rules.pointers]
    session.emit(rules.to_json(), table(rows, ("hides", "rule")))
