"""The time of routing goes on where the database's clock is set back."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds, and replaces bodies only: builds for the revision before call what they always did."""
    execute_files(revision, ("routing_time",))
