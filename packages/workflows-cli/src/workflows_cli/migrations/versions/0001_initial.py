"""Tables, roles, row-level security and functions of the authored runtime."""

from __future__ import annotations

from workflows_cli.migrations.sql_files import execute_files

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_FILES = ("tables", "security", "functions", "run_writes", "ledger", "routing")


def upgrade() -> None:
    """In this order: later files refer to what earlier ones made."""
    execute_files(revision, _FILES)
