"""Claims of `match: one`, verdicts of runs that ended without telling, requeue, and what publishing refuses."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds only; the previous release keeps working."""
    execute_files(revision, ("claims", "publishing"))
