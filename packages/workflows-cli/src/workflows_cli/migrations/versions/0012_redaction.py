"""What people are not shown of a tenant's values."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a table; what is there stays as it is."""
    execute_files(revision, ("redaction",))
