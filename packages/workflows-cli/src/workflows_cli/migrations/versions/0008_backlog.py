"""What waits and what needs an operator, counted for metrics."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds only; the previous release keeps working."""
    execute_files(revision, ("backlog",))
