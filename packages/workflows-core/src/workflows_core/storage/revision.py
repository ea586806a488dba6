"""Which schema this wheel works with; `workflows db upgrade` brings a database there."""

from __future__ import annotations

from typing import Final

REQUIRED_REVISION: Final = "0028"
"""A worker whose database has another revision says so and is not ready."""

VERSION_TABLE: Final = "workflow_schema_revision"
"""Where the revision stands: a name of our own, since the application may use Alembic in the same database."""
