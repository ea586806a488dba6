"""The database as the runtime uses it: one transaction at a time, and each for one tenant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from workflows_core.storage.driver_rows import driver_of, rows_by_driver
from workflows_core.storage.revision import VERSION_TABLE

_SET_TENANT = text("SELECT set_config('workflows.tenant', :tenant, true)")
_REVISION = text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - a constant of ours

_OLDEST_SERVED = text("SELECT workflow_oldest_served_revision()")

_INSUFFICIENT_PRIVILEGE = "42501"
_UNDEFINED_TABLE = "42P01"
_UNDEFINED_FUNCTION = "42883"
_NOT_OUR_FAULT = (
    "08",  # connection exceptions
    "25006",  # read-only: a standby, or a server that was told to take no more writes
    "25P03",  # idle-in-transaction time-out
    "25P04",  # transaction time-out
    "40",  # deadlock, serialisation: the same again may well succeed
    "53",  # too many connections, out of memory or disk
    "55P03",  # lock not available in time
    "57",  # cancelled (statement time-out), shutting down, starting up
    "58",  # system errors
)


class Database:
    """Opens transactions. Connected as the application role, which row-level security binds.

    Args:
        engine: Of driver psycopg; its owner disposes of it.
        within_seconds: A transaction that takes longer ends with `TimeoutError`: a server that holds connections open
            and answers nothing is known by that only. None where nobody waits for the process.
    """

    def __init__(self, engine: AsyncEngine, within_seconds: float | None = None) -> None:
        self.engine = engine
        self.within_seconds = within_seconds
        self._limits: WeakKeyDictionary[AsyncConnection, asyncio.Timeout] = WeakKeyDictionary()

    @asynccontextmanager
    async def tenant(self, tenant_id: str) -> AsyncIterator[AsyncConnection]:
        """One transaction that sees and writes the rows of `tenant_id` only; committed at the end.

        Raises:
            ValueError: The tenant is empty.
        """
        if not tenant_id:
            raise ValueError("a transaction needs a tenant that is not empty")
        async with asyncio.timeout(self.within_seconds), self.engine.begin() as connection:
            await rows_by_driver(connection, _SET_TENANT, {"tenant": tenant_id})
            yield connection

    @asynccontextmanager
    async def narrow(self) -> AsyncIterator[AsyncConnection]:
        """One transaction without a tenant: for the narrow functions and for tables without tenants."""
        async with asyncio.timeout(self.within_seconds) as limit, self.engine.begin() as connection:
            self._limits[connection] = limit
            yield connection

    def go_on(self, connection: AsyncConnection) -> None:
        """A transaction of `narrow` may take as long again from now: what it does comes in bounded parts."""
        if self.within_seconds is not None:
            self._limits[connection].reschedule(asyncio.get_running_loop().time() + self.within_seconds)

    async def alone(self, statement: TextClause, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of one statement in a transaction of its own: one round trip, for functions that set a tenant.

        Raises:
            DBAPIError: As `rows_by_driver`.
        """
        async with asyncio.timeout(self.within_seconds), self.engine.connect() as connection:
            driver = await driver_of(connection)
            try:
                # Inside: on a busy loop the driver lets others go first when it has set it, and can be cancelled there.
                await driver.set_autocommit(True)
                return await rows_by_driver(connection, statement, values)
            finally:
                if not driver.closed:
                    await driver.set_autocommit(False)

    async def revision(self) -> str | None:
        """The schema's revision; None where there is no authored schema."""
        return await self._said(_REVISION, _UNDEFINED_TABLE)

    async def oldest_served(self) -> str | None:
        """The oldest revision whose builds the schema still serves; None where it does not say."""
        return await self._said(_OLDEST_SERVED, _UNDEFINED_FUNCTION)

    async def _said(self, query: TextClause, absent: str) -> str | None:
        """What the schema says of itself; None where what is asked for is absent, which has that code."""
        try:
            async with asyncio.timeout(self.within_seconds), self.engine.connect() as connection:
                found: str | None = (await connection.execute(query)).scalar()
                return found
        except ProgrammingError as error:
            if sqlstate(error) == absent:
                return None
            raise


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's code of an error, by the driver or from behind SQLAlchemy's; None where there is none."""
    state: str | None = getattr(getattr(error, "orig", None) or error, "sqlstate", None)
    return state


def is_unavailable(error: BaseException) -> bool:
    """Whether the database is gone, overloaded or too slow, as against a fault of ours.

    The same work may succeed later; nothing is known about whether a commit in flight arrived.
    """
    if isinstance(error, (PoolTimeout, ConnectionError, asyncio.TimeoutError)):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = sqlstate(error)
    if state is None:
        return isinstance(error, (OperationalError, InterfaceError))
    return state.startswith(_NOT_OUR_FAULT)


def may_not(error: BaseException) -> bool:
    """Whether the login lacks a right, which may be given to it: it is another service's, or was taken one."""
    return sqlstate(error) == _INSUFFICIENT_PRIVILEGE


def may_pass(error: BaseException) -> bool:
    """Whether a loop goes on and tries again: the database is gone for now, or refuses a right that may be given."""
    return is_unavailable(error) or may_not(error)


def unavailable_reason(error: BaseException) -> str:
    """`PostgreSQL does not answer: ...`, or `refuses` for a fault of ours, with the driver's own words, on one line."""
    said = str(getattr(error, "orig", None) or error).strip()
    if isinstance(error, TimeoutError) and not said:
        said = "a transaction was given up for the time it took"
    what = "does not answer" if is_unavailable(error) else "refuses"
    return f"PostgreSQL {what}: {said.splitlines()[0][:200] if said else type(error).__name__}"
