"""Who routes an event sends what it leads to."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds functions and an index; builds of before call what they called."""
    execute_files(revision, ("just_routed",))
