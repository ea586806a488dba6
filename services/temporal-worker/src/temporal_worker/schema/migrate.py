"""Creates or updates the schema `temporal_worker` and lets the service's own role use it."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

import psycopg
from psycopg import sql

from service_host.errors import Unreachable
from service_host.postgres import CONNECT_SECONDS, database_reason, where_is
from temporal_worker.settings import Settings

_LOCK: Final = 7_310_551_009_247
"""Advisory lock: two migrations at once wait for each other."""

_REMEDIES: Final = {
    "42501": "; DB_USER_ADMIN and DB_PASSWORD_ADMIN have to name a role that may create a schema, or its owner",
    "42704": "; make the service's login first: `workflows db create-login NAME --service temporal-worker`",
}
"""What helps, by PostgreSQL's code: the role may not, and a role is not there."""


def revisions() -> tuple[str, ...]:
    """Names of all revisions this build knows, in order."""
    found = files("temporal_worker.schema").iterdir()
    return tuple(sorted(entry.name.removesuffix(".sql") for entry in found if entry.name.endswith(".sql")))


def migrate(settings: Settings) -> tuple[str, ...]:
    """Apply what is missing, all of it in one transaction.

    Connects as DB_USER_ADMIN where that is set, else as DB_USER_SERVER; that role must be allowed to create a schema.

    Returns:
        The revisions applied now; empty if the schema was current.

    Raises:
        Unreachable: The database cannot be reached, or refuses.
    """
    as_admin = settings.db_user_admin is not None
    password = settings.db_password_admin if as_admin else settings.db_password_server
    try:
        with psycopg.connect(
            host=settings.db_host,
            port=settings.db_port,
            dbname=settings.db_name_server,
            user=settings.db_user_admin if as_admin else settings.db_user_server,
            password=password.get_secret_value() if password is not None else None,
            connect_timeout=CONNECT_SECONDS,
        ) as connection:
            return _apply(connection, settings.db_user_server)
    except psycopg.Error as error:
        reason = database_reason(error) + _REMEDIES.get(error.sqlstate or "", "")
        raise Unreachable("PostgreSQL", where_is(settings), reason) from error


def _apply(connection: psycopg.Connection[tuple[str]], user: str) -> tuple[str, ...]:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    connection.execute("CREATE SCHEMA IF NOT EXISTS temporal_worker")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS temporal_worker.schema_revisions"
        " (revision text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    there = {row[0] for row in connection.execute("SELECT revision FROM temporal_worker.schema_revisions")}
    missing = tuple(revision for revision in revisions() if revision not in there)
    for revision in missing:
        script = files("temporal_worker.schema").joinpath(f"{revision}.sql").read_text(encoding="utf-8")
        connection.execute(script.encode())
        connection.execute("INSERT INTO temporal_worker.schema_revisions (revision) VALUES (%s)", (revision,))
    for statement in (
        "GRANT USAGE ON SCHEMA temporal_worker TO {}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA temporal_worker TO {}",
        "REVOKE INSERT, UPDATE, DELETE ON temporal_worker.schema_revisions FROM {}",
    ):
        if user != connection.info.user:
            connection.execute(sql.SQL(statement).format(sql.Identifier(user)))
    return missing
