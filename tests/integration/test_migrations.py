"""Migrations bring every database to the revision that the wheels need."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import NullPool, create_engine, make_url

from harness.databases import DatabaseFactory, MigratedDatabase
from workflows_cli import migrations
from workflows_cli.embedded import EmbeddedPostgres
from workflows_cli.migrations.upgrade import current, head, upgrade
from workflows_core.errors import Refused
from workflows_core.storage import readiness, tables
from workflows_core.storage.database import Database
from workflows_core.storage.revision import REQUIRED_REVISION

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_newest_revision_is_the_one_that_core_requires(db: Database) -> None:
    assert head() == REQUIRED_REVISION
    assert await db.revision() == REQUIRED_REVISION


async def test_several_upgrades_at_once_end_where_one_does(
    postgres: EmbeddedPostgres, databases: DatabaseFactory
) -> None:
    postgres.create_database("upgraded_twice")
    try:
        url = postgres.url("upgraded_twice")
        assert current(url) is None
        done = await asyncio.gather(*(asyncio.to_thread(upgrade, url) for _ in range(3)))
        assert set(done) == {REQUIRED_REVISION}
        assert current(url) == REQUIRED_REVISION
    finally:
        postgres.drop_database("upgraded_twice")


async def test_the_tables_in_code_are_those_of_the_database(database: MigratedDatabase) -> None:
    with psycopg.connect(database.admin_url) as connection:
        found = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        ).fetchall()
    columns: dict[str, set[str]] = {}
    for table, column in found:
        columns.setdefault(table, set()).add(column)
    for table in tables.metadata.tables.values():
        assert {column.name for column in table.columns} <= columns[table.name], table.name


async def test_a_database_without_the_schema_says_so(postgres: EmbeddedPostgres) -> None:
    assert current(postgres.url("postgres")) is None


@pytest.mark.parametrize(
    ("found", "refused"), [("0001", True), ("0022", True), ("9999", False)], ids=["early", "last before", "newer"]
)
async def test_what_cannot_be_upgraded_is_left_as_it_is(database: MigratedDatabase, found: str, refused: bool) -> None:
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        connection.execute("UPDATE workflow_schema_revision SET version_num = %s", [found])
        if refused:
            with pytest.raises(
                Refused, match=f"SCHEMA_NOT_FITTING: the schema is at {found}, of a build before the first"
            ):
                upgrade(database.admin_url)
        else:
            assert upgrade(database.admin_url) == found
        assert connection.execute("SELECT version_num FROM workflow_schema_revision").fetchall() == [(found,)]


async def test_a_schema_that_serves_older_builds_says_which(db: Database, database: MigratedDatabase) -> None:
    with psycopg.connect(database.admin_url) as connection:
        connection.execute("UPDATE workflow_schema_revision SET version_num = '9999'")
    ready, text = await readiness.schema_verdict(db)
    assert (ready, text) == (
        True,
        f"revision 9999, which serves builds for 0023 and newer; this is one for {REQUIRED_REVISION}",
    )


@pytest.mark.parametrize(
    ("required", "ready", "says"),
    [
        (REQUIRED_REVISION, True, f"revision {REQUIRED_REVISION}"),
        ("0022", False, f"the schema is at {REQUIRED_REVISION}, this build needs 0022"),
        ("9999", False, "run `workflows db upgrade`"),
    ],
)
async def test_a_build_is_ready_on_a_newer_schema_that_still_serves_it(
    db: Database, monkeypatch: pytest.MonkeyPatch, required: str, ready: bool, says: str
) -> None:
    monkeypatch.setattr(readiness, "REQUIRED_REVISION", required)
    found, text = await readiness.schema_verdict(db)
    assert (found, says in text) == (ready, True), text


@pytest.fixture
def first_release(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database as the first release left it; answers its name."""
    name = "of_the_first_release"
    postgres.create_database(name)
    engine = create_engine(make_url(postgres.url(name)).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "0023")
        yield name
    finally:
        postgres.drop_database(name)


async def test_an_upgrade_leaves_what_builds_of_the_first_release_call(
    postgres: EmbeddedPostgres, first_release: str
) -> None:
    """Functions with their arguments, results and who may call them."""
    functions = (
        "SELECT p.oid::regprocedure::text, pg_get_function_result(p.oid), p.prosecdef, pg_get_userbyid(p.proowner),"
        "       has_function_privilege('workflow_runtime', p.oid, 'EXECUTE'),"
        "       has_function_privilege('workflow_application', p.oid, 'EXECUTE')"
        "  FROM pg_proc p WHERE p.proname LIKE 'workflow%'"
    )
    with psycopg.connect(postgres.url(first_release), autocommit=True) as connection:
        before = set(connection.execute(functions).fetchall())
        assert upgrade(postgres.url(first_release)) == REQUIRED_REVISION
        assert before <= set(connection.execute(functions).fetchall())
        assert connection.execute("SELECT workflow_oldest_served_revision()").fetchall() == [("0023",)]


async def test_an_upgrade_and_writes_that_have_read_before_do_not_wait_for_each_other(
    postgres: EmbeddedPostgres, first_release: str
) -> None:
    url = postgres.url(first_release)
    waiting = (
        "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = %s AND NOT granted"
    )
    with psycopg.connect(url) as writing, psycopg.connect(url, autocommit=True) as watching:
        writing.execute("SELECT 1 FROM workflow_run_waits")
        upgrading = asyncio.create_task(asyncio.to_thread(upgrade, url))
        while watching.execute(waiting, [first_release]).fetchone() == (0,):
            await asyncio.sleep(0.02)
        await asyncio.to_thread(writing.execute, "UPDATE workflow_run_waits SET status = 'WAITING'")
        writing.commit()
        assert await upgrading == REQUIRED_REVISION
