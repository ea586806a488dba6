"""Indexes: values of the store whose time is over, and the newest tasks."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds only: builds for the revision before call what they always did."""
    execute_files(revision, ("expired_values", "newest_tasks"))
