"""The last action of a run writes its end."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a function."""
    execute_files(revision, ("last_actions",))
