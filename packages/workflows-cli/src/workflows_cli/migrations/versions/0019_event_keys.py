"""Keys that indexes hold, one meaning of them, events in the order of publishing, and indexes for those who look."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds functions and indexes; builds of before call what they called."""
    execute_files(revision, ("looking", "event_keys"))
