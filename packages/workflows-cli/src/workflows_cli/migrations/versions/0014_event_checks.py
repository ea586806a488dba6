"""Events that no process could read are refused where they are published; no event refuses the end of a run."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a trigger and two indexes and replaces functions; what is there stays as it is."""
    execute_files(revision, ("event_checks", "look_back", "run_ends"))
