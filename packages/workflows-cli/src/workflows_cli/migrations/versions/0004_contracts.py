"""Payload schemas and the event catalogue of each tenant; waits for steps; calls that kill their worker."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds only; the previous release keeps working."""
    execute_files(revision, ("schemas", "quota", "suspects"))
