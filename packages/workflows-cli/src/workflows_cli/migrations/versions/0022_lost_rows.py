"""A run's writes do not repeat which version it is of; one whose row is gone is told apart."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replaces a function with the same arguments."""
    execute_files(revision, ("lost_rows",))
