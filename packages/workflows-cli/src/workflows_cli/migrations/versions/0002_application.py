"""Tokens of the HTTP API."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds only; the previous release keeps working."""
    execute_files(revision, ("api_tokens",))
