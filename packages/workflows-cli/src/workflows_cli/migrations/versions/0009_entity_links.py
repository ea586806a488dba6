"""Links between entities, for the actions `links.*`."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds only; the previous release keeps working."""
    execute_files(revision, ("entity_links",))
