"""The end of an action costs the database less; nothing means anything else."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds two functions, and replaces functions and a trigger."""
    execute_files(revision, ("cheaper_ends",))
