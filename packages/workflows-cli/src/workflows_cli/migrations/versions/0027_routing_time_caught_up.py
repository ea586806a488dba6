"""The time of routing does not go back where a late clock comes to it again."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replaces a body only: builds for the revision before call what they always did."""
    execute_files(revision, ("routing_time",))
