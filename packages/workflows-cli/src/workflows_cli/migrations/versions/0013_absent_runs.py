"""A run without a row gets one, also by a write that does not name the hash of its definition."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replaces a function; what is there stays as it is."""
    execute_files(revision, ("absent_runs",))
