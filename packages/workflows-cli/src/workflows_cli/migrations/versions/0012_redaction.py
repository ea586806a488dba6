"""What people are not shown of values; hints that say what there is to do, and deliveries that are handed over."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a table and replaces functions; what is there stays as it is."""
    execute_files(revision, ("redaction", "handing_over", "positions"))
