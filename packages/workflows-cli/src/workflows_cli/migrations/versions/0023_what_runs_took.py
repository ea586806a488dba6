"""The inbox says what the run did, a repeat is the same event in all it names, and nobody waits for the sender."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds indexes, a function and a table, and replaces functions with the same arguments."""
    execute_files(revision, ("long_runs", "sending", "tasks", "announcing", "publishing", "claims", "claimed"))
