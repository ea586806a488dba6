"""Engine for PostgreSQL: every wait has a limit, so that a database that hangs cannot stop a process.

libpq reads no proxy variable; a loopback address is always reached directly.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Final

from sqlalchemy import URL, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service_host.errors import Unreachable
from service_host.reaching import ATTEMPT_SECONDS, until_reached
from service_host.settings import PostgresSettings

_PERMANENT: Final = re.compile(r"(database|role) \"[^\"]*\" does not exist|authentication failed|no pg_hba\.conf entry")
"""What a server says, in English, that waiting does not change; the driver has no code for a connection that fails."""

_REMEDIES: Final = {
    "certificate verify failed": "the server's certificate is out of date, or PGSSLROOTCERT lacks the CA behind it",
    "does not match host name": "DB_HOST has to be a name of the certificate; PGSSLMODE=verify-ca looks at no name",
    "root certificate file": "PGSSLROOTCERT has to name a PEM file with the CA that signed the server's certificate",
    "server does not support SSL": "PGSSLMODE asks for TLS, and TLS is off in the server",
    "invalid sslmode value": "PGSSLMODE is disable, allow, prefer, require, verify-ca or verify-full",
    "no encryption": "where the server wants TLS, set PGSSLMODE=require, or verify-full with PGSSLROOTCERT",
    "requires a valid client certificate": "set PGSSLCERT and PGSSLKEY to one of a CA that the server knows",
    "certificate authentication failed": "the certificate of PGSSLCERT has to be for the role of DB_USER_SERVER",
    "alert unknown ca": "the server does not know the CA that signed the certificate of PGSSLCERT",
    "alert certificate expired": "the certificate of PGSSLCERT has expired",
    "but not private key file": "PGSSLKEY has to name the file with the key of the certificate of PGSSLCERT",
    "key values mismatch": "PGSSLKEY is the key of another certificate than PGSSLCERT",
    "could not load private key file": "PGSSLKEY has to name a PEM file with a key that is not encrypted",
    "group or world access": "that is the file of PGSSLKEY",
    "in a read-only transaction": "the server is a standby, or has default_transaction_read_only on",
    "could not read certificate file": "PGSSLCERT has to name a PEM file with the client's certificate",
    "due to statement timeout": (
        "it is busy, or somebody holds a lock: try again, and see who with `SELECT pid, pg_blocking_pids(pid), query "
        "FROM pg_stat_activity WHERE wait_event_type = 'Lock'`"
    ),
}
"""What stands in the words of libpq and of the server, and what mends it; the first one that fits is said."""

CONNECT_SECONDS: Final = 2
STATEMENT_SECONDS: Final = 5
IDLE_SECONDS: Final = 60
"""A transaction in which nothing happens for so long is ended by the server: who stands still holds no locks."""

TRANSACTION_SECONDS: Final = 10.0
"""A transaction of a service that takes longer is given up: a server that hangs says nothing, not even that."""


def create_engine(
    settings: PostgresSettings,
    *,
    application_name: str | None = None,
    pool_size: int = 10,
    max_overflow: int = 10,
    statement_seconds: float = STATEMENT_SECONDS,
) -> AsyncEngine:
    """An engine; it connects on first use, so the database need not be there yet.

    Connections are not tried before each use (that costs a round trip per transaction): after the database was
    restarted the first use of a stale connection fails, and the pool then drops all of them.

    Args:
        settings: Host, port, database, role, password.
        application_name: Shown in pg_stat_activity; best the process identity.
        pool_size: Connections kept open.
        max_overflow: Further connections under load.
        statement_seconds: A statement that runs longer is ended by the server.
    """
    url = URL.create(
        "postgresql+psycopg",
        username=settings.db_user_server,
        password=settings.db_password_server.get_secret_value(),
        host=settings.db_host,
        port=settings.db_port,
        database=settings.db_name_server,
    )
    connect_args: dict[str, str | int] = {
        "connect_timeout": CONNECT_SECONDS,
        # Whatever the database or the role has as its default: what is read behind a lock has to be of behind it.
        "options": f"-c statement_timeout={int(statement_seconds * 1000)} -c timezone=UTC"
        r" -c default_transaction_isolation=read\ committed"
        f" -c idle_in_transaction_session_timeout={IDLE_SECONDS * 1000}",
        # A peer that vanished without a word is noticed by the kernel, not by a statement's own limit.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    if application_name is not None:
        connect_args["application_name"] = application_name
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=STATEMENT_SECONDS,
        pool_recycle=1800,
        pool_use_lifo=True,
        # What a statement failed with is no text for logs and failures: payloads are among it.
        hide_parameters=True,
        connect_args=connect_args,
    )


def where_is(settings: PostgresSettings) -> str:
    """`host:port/database`, for messages."""
    return f"{settings.db_host}:{settings.db_port}/{settings.db_name_server}"


def where_of(engine: AsyncEngine) -> str:
    """`host:port/database` of an engine, for messages."""
    return f"{engine.url.host}:{engine.url.port}/{engine.url.database}"


async def ping_postgres(engine: AsyncEngine) -> None:
    """One `SELECT 1`.

    Raises:
        Unreachable: With the reason in one line; `permanent` if the server knows no such database or role, or no such
            password of it.
    """
    where = where_of(engine)
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS), engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except TimeoutError:
        raise Unreachable("PostgreSQL", where, f"no answer within {ATTEMPT_SECONDS:g} s") from None
    except (SQLAlchemyError, OSError) as error:
        reason = database_reason(error)
        raise Unreachable("PostgreSQL", where, reason, permanent=bool(_PERMANENT.search(reason))) from error


async def wait_for_postgres(engine: AsyncEngine, *, on_wait: Callable[[str], None] | None = None) -> None:
    """Return once the database answers; see `until_reached`."""

    async def attempt() -> None:
        await ping_postgres(engine)

    await until_reached(attempt, on_wait=on_wait)


def postgres_check(engine: AsyncEngine) -> Callable[[], Awaitable[tuple[bool, str]]]:
    """A readiness part: whether the database answers now."""

    async def check() -> tuple[bool, str]:
        try:
            await ping_postgres(engine)
        except Unreachable as error:
            return False, str(error)
        return True, "answers"

    return check


def database_reason(error: BaseException) -> str:
    """The driver's own sentence, without SQL, parameters or follow-up lines; of some with what mends it."""
    origin = getattr(error, "orig", None) or error
    lines = str(origin).strip().splitlines()
    reason = lines[0].strip() if lines else type(origin).__name__
    advice = next((advice for words, advice in _REMEDIES.items() if words in reason), None)
    return reason if advice is None else f"{reason}; {advice}"
