"""The whole schema of the first version: tables, roles, row-level security and functions."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0023"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """In this order: later files refer to what earlier ones made."""
    execute_files(
        revision,
        (
            "roles",
            *("definitions", "runs", "events", "values", "tasks", "schedules", "other_tables", "security"),
            *("publishing", "run_rows", "run_writes", "look_back", "actions", "run_ends", "routing", "sending"),
            *("across_tenants", "revision"),
        ),
    )
