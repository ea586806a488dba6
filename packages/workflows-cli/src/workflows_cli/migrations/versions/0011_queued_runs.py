"""Starts that wait for another run of their workflow to end; which builds the schema serves."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the status QUEUED; what is there stays as it is."""
    execute_files(revision, ("queued_runs", "oldest_served"))
