"""`workflows ownership`: which service owns each queue, and who polls it now."""

from __future__ import annotations

import click

from workflows_cli.output import table
from workflows_cli.queues import ownership_rows
from workflows_cli.session import Session, command

_COLUMNS = (
    "queue", "kind", "owner", "pollers", "lastSeenSeconds", "backlog", "backlogAgeSeconds", "verdict", "knownFrom",
)  # fmt: skip


@click.command("ownership")
@command
async def ownership(session: Session) -> int:
    """Show each queue's owner and its live pollers; exit code 1 when somebody polls a queue that is not theirs."""
    rows = await ownership_rows(await session.temporal(), session.db)
    session.emit(rows, table(rows, _COLUMNS))
    return 1 if any(row["verdict"].startswith("intruder") for row in rows) else 0
