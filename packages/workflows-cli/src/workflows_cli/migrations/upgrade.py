"""Bringing a database to the newest revision, asking which one it has, and logins for a stack of our own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import URL, Connection, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from workflows_core.errors import Refused
from workflows_core.storage.revision import VERSION_TABLE

ROLES: Mapping[str, str | None] = {
    "workflow-worker": "workflow_runtime",
    "workflow-server": "workflow_application",
    "workflows": "workflow_application",
    "temporal-worker": None,
}
"""What a service's login is a member of.

temporal-worker's may do nothing with authored tables, its own migration gives it its own; `workflows` is what operators
use.
"""

_OWN_ROLES = frozenset({"workflow_definer", *filter(None, ROLES.values())})
"""The schema's own, which nobody logs in as."""

_MAY_MORE = """
    SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolname = current_user
           OR EXISTS (SELECT FROM pg_class WHERE relowner = found.oid AND oid = to_regclass(%s))
    FROM pg_roles AS found WHERE rolname = %s
"""
"""Whether a role that is there is somebody else's than a service's."""

_FIRST = "0023"
"""The revision of the first release."""

_LOCK = 0x776F726B666C6F77  # "workflow", as a number


def upgrade(url: str | URL) -> str:
    """Runs what is missing in one transaction; others who do the same meanwhile wait.

    Args:
        url: The database, as a role that may create tables and roles.

    Returns:
        The revision: a newer one than this wheel's where a newer release has been there, since nothing is missing then.

    Raises:
        Refused: `SCHEMA_NOT_FITTING`: the schema is older than any release.
        sqlalchemy.exc.DBAPIError: The database is not reachable or refuses a statement; nothing is changed then.
    """
    with _connected(url) as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        found, newest = _revision(connection), head()
        if found is not None and found > newest:
            return found
        if found is not None and found < _FIRST:
            raise Refused.one(
                "SCHEMA_NOT_FITTING",
                f"the schema is at {found}, of a build before the first release, and only {_FIRST} and newer can be "
                "upgraded: take an empty database; nothing was changed",
            )
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return newest


def current(url: str | URL) -> str | None:
    """The database's revision, None where there is no authored schema."""
    with _connected(url) as connection:
        return _revision(connection)


def _revision(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def head() -> str:
    """The newest revision of this wheel."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None, "the revisions are part of this wheel"
    return found


def create_login(admin_url: str | URL, name: str, password: str, service: str = "workflows") -> None:
    """Makes a login that may do what the service does and nothing more; changes one that exists.

    Args:
        admin_url: A migrated database, as a role that may create roles.
        name: The login's name.
        password: Its password.
        service: Key of `ROLES`.

    Raises:
        Refused: `LOGIN_NOT_FITTING`: the name is that of a role which may do more, or of the schema.
        sqlalchemy.exc.DBAPIError: The database is not reachable.
        psycopg.Error: It refuses a statement; nothing is changed then.
    """
    if name in _OWN_ROLES:
        raise Refused.one("LOGIN_NOT_FITTING", f"{name} is a role of the schema, and no login: take another name", name)
    login, wanted = sql.Identifier(name), ROLES[service]
    with _connected(admin_url) as connection:
        # By the driver itself: SQLAlchemy's errors quote the statement, and this one has a password.
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        # And only its verifier leaves this process: a server may log any statement, and logs one that it refuses.
        secret = sql.Literal(driver.pgconn.encrypt_password(password.encode(), name.encode()).decode())
        # One after the other: of two that make the same one, the second changes it.
        driver.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        found = driver.execute(_MAY_MORE, [VERSION_TABLE, name]).fetchone()
        if found and found[0]:
            message = (
                f"role {name} is there, and no service's: it is a superuser, may make roles, is not bound by row-level "
                "security, owns the schema's tables, or is the one that the URL names; take another name"
            )
            raise Refused.one("LOGIN_NOT_FITTING", message, name)
        verb = sql.SQL("ALTER" if found else "CREATE")
        driver.execute(sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, login, secret))
        for role in sorted({role for role in ROLES.values() if role is not None}):
            how = "GRANT {} TO {}" if role == wanted else "REVOKE {} FROM {}"
            driver.execute(sql.SQL(how).format(sql.Identifier(role), login))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _connected(url: str | URL) -> Iterator[Connection]:
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool, connect_args={"connect_timeout": 5}
    )
    with engine.begin() as connection:
        yield connection
