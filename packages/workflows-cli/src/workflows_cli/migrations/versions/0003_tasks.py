"""Human tasks, the event of a child run's end, and repairs of runs that cannot tell their end."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds only; the previous release keeps working."""
    execute_files(revision, ("tasks", "run_ends", "repairs"))
