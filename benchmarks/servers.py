"""What benchmarks that need both servers begin with."""

from __future__ import annotations

from contextlib import AsyncExitStack

from service_host.postgres import create_engine
from service_host.settings import PostgresSettings
from workflows_cli.embedded.postgres import EmbeddedPostgres
from workflows_core.storage.database import Database


def database_of(stack: AsyncExitStack, postgres: EmbeddedPostgres) -> Database:
    """The server's database with a pool as workflow-worker has it; disposed of with the stack."""
    settings = PostgresSettings.model_validate(
        {
            "DB_HOST": postgres.host,
            "DB_PORT": postgres.port,
            "DB_NAME_SERVER": postgres.database,
            "DB_USER_SERVER": postgres.user,
            "DB_PASSWORD_SERVER": postgres.password,
        }
    )
    engine = create_engine(settings, pool_size=20, max_overflow=0)
    stack.push_async_callback(engine.dispose)
    return Database(engine)
