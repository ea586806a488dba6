"""Routing, looking back and starts of queued runs in bounded pieces; the parent of a run whose row comes back."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds only: builds for the revision before call what they always did."""
    execute_files(revision, ("routing", "look_back", "run_rows", "queued_runs"))
