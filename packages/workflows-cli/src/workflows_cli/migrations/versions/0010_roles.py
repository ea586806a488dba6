"""A database role for each kind of service."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Logins of the application become members of a role of their own: `workflows db create-login --service`."""
    execute_files(revision, ("roles",))
