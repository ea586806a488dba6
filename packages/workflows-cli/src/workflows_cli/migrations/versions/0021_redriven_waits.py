"""A wait of a redriven run does not look back to what the run has kept."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a function, and replaces one with the same arguments."""
    execute_files(revision, ("redriven_waits",))
