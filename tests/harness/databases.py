"""A fresh, migrated database in some ten milliseconds: a copy of one that was migrated once."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from workflows_cli.embedded import EmbeddedPostgres
from workflows_cli.migrations.upgrade import create_login, upgrade

LOGIN = "workflow_test_process"


@dataclass(frozen=True, slots=True)
class MigratedDatabase:
    """Where a test's database is.

    Attributes:
        host: Its server.
        port: Its server's port.
        name: Its name.
        user: A login that has what a process of ours has (member of `workflow_runtime`).
        password: Of that login.
        url: For that login.
        admin_url: For the superuser, whom row-level security does not bind.
    """

    host: str
    port: int
    name: str
    user: str
    password: str
    url: str
    admin_url: str

    @property
    def environment(self) -> dict[str, str]:
        """The services' own variables."""
        return {
            "DB_HOST": self.host,
            "DB_PORT": str(self.port),
            "DB_NAME_SERVER": self.name,
            "DB_USER_SERVER": self.user,
            "DB_PASSWORD_SERVER": self.password,
        }


class DatabaseFactory:
    """Copies of one migrated database of a server."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        """Migrates the template."""
        self._server = server
        self._password = secrets.token_hex(16)
        self._template = f"template_{secrets.token_hex(6)}"
        server.create_database(self._template)
        upgrade(server.url(self._template))
        create_login(server.url(self._template), LOGIN, self._password)

    @contextmanager
    def fresh(self) -> Iterator[MigratedDatabase]:
        """A database of its own, dropped at the end together with its connections."""
        name, server = f"test_{secrets.token_hex(6)}", self._server
        server.create_database(name, template=self._template)
        try:
            yield MigratedDatabase(
                host=server.host,
                port=server.port,
                name=name,
                user=LOGIN,
                password=self._password,
                url=server.url(name, user=LOGIN, password=self._password),
                admin_url=server.url(name),
            )
        finally:
            server.drop_database(name)


@asynccontextmanager
async def engine_of(url: str, pool_size: int = 5, max_overflow: int = 15) -> AsyncIterator[AsyncEngine]:
    """An engine with the time-outs that processes use (2 s to connect, 5 s a statement), disposed of at the end."""
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1),
        pool_size=pool_size,
        max_overflow=max_overflow,
        connect_args={"connect_timeout": 2, "options": "-c statement_timeout=5000"},
    )
    try:
        yield engine
    finally:
        await engine.dispose()
