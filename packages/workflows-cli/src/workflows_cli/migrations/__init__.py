"""The authored schema's Alembic tree, and its use as a library: no alembic.ini is needed."""
