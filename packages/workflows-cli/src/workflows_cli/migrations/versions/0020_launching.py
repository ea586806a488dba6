"""The end of a launch in one round trip, and launches that were cut short told apart from runs that wait."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds functions; builds of before go on without them."""
    execute_files(revision, ("launching",))
