"""Alembic's entry: runs the revisions on the connection that `upgrade` hands over, and on no other."""

from __future__ import annotations

from alembic import context

from workflows_core.storage.revision import VERSION_TABLE

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("the authored schema is migrated with `workflows db upgrade`, not with the alembic command")
context.configure(connection=connection, version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
