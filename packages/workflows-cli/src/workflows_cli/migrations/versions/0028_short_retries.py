"""A short call takes over the row of an attempt before it that was a regular one."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replaces a body only: builds for the revision before call what they always did."""
    execute_files(revision, ("short_retries",))
