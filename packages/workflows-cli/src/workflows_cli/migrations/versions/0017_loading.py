"""A run is loaded in one round trip."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a function."""
    execute_files(revision, ("loading",))
