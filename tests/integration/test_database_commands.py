"""What is said of a database that is not there, is empty, or does not let us."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from harness.databases import MigratedDatabase, engine_of
from harness.operator import command, refused, workflows
from workflows_cli.embedded import EmbeddedPostgres
from workflows_cli.errors import of_database
from workflows_core.storage.announcing import keep_announced
from workflows_core.storage.database import Database
from workflows_core.storage.processes import Announcement
from workflows_core.storage.revision import REQUIRED_REVISION
from workflows_core.storage.runs import list_runs

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

PASSWORD = "p%s:'\"/@"
LOGIN = {"WORKFLOWS_LOGIN_PASSWORD": PASSWORD}


@pytest.fixture
def environment(database: MigratedDatabase) -> dict[str, str]:
    """Of an operator; nothing here gets as far as Temporal."""
    return {**database.environment, "TEMPORAL_ADDRESS": "127.0.0.1:1", "WORKFLOWS_TENANT": "acme"}


@pytest.fixture
def empty() -> Iterator[EmbeddedPostgres]:
    """A server that has neither the schema nor its roles."""
    with EmbeddedPostgres() as server:
        yield server


async def test_a_database_without_the_schema_is_told_with_what_brings_it(
    environment: dict[str, str], postgres: EmbeddedPostgres
) -> None:
    empty = {**environment, "DB_NAME_SERVER": "postgres"}
    where = f"PostgreSQL at 127.0.0.1:{environment['DB_PORT']}/postgres"
    told = f"error SCHEMA_NOT_FITTING: {where}: the schema is at nothing, this build needs {REQUIRED_REVISION}"
    for arguments in (("runs", "list"), ("events", "publish", "PAID"), ("tasks", "list")):
        message = await refused(empty, *arguments)
        assert message == f"{told}; run `workflows db upgrade`\n"


async def test_a_login_that_may_not_is_told_so(environment: dict[str, str], database: MigratedDatabase) -> None:
    made = ("db", "create-login", "of_domain_queues", "--url", database.admin_url)
    answer = await workflows({**environment, **LOGIN}, *made, "--service", "temporal-worker")
    assert answer == {"login": "of_domain_queues", "service": "temporal-worker"}
    theirs = {**environment, "DB_USER_SERVER": "of_domain_queues", "DB_PASSWORD_SERVER": PASSWORD}
    message = await refused(theirs, "runs", "list")
    assert "error DATABASE_REFUSED: PostgreSQL at " in message
    assert "permission denied for table workflow_runs; DB_USER_SERVER has to be a login of" in message
    await workflows({**environment, **LOGIN}, *made)
    assert await workflows(theirs, "runs", "list") == []


async def test_a_role_that_may_make_nothing_is_told_so(database: MigratedDatabase) -> None:
    for arguments in (("db", "create-login", "somebody"), ("db", "upgrade")):
        url = database.url if arguments[1] == "create-login" else database.url.replace(database.name, "postgres")
        message = await refused(LOGIN, *arguments, "--url", url)
        assert "error DATABASE_REFUSED: PostgreSQL at " in message
        assert "permission denied" in message
        assert "the URL has to name a role that may create tables and roles" in message


async def test_a_login_is_refused_before_the_schema_has_its_roles(empty: EmbeddedPostgres) -> None:
    message = await refused(LOGIN, "db", "create-login", "early", "--url", empty.url(), "--service", "workflow-worker")
    assert 'refuses: role "workflow_application" does not exist; run `workflows db upgrade` first' in message
    assert "SCHEMA_NOT_FITTING" in message
    message = await refused(LOGIN, "db", "create-login", "pg_early", "--url", empty.url())
    assert "DATABASE_REFUSED: PostgreSQL at 127.0.0.1:" in message
    assert 'role name "pg_early" is reserved' in message
    # A password is in no message, and a login that was refused is not there.
    assert PASSWORD not in message
    # The server logs the statement that it refuses.
    logged = empty.log.read_text(encoding="utf-8")
    assert 'CREATE ROLE "pg_early"' in logged
    assert "p%s:" not in logged
    assert (await workflows(LOGIN, "db", "upgrade", "--url", empty.url()))["before"] is None
    await workflows(LOGIN, "db", "create-login", "early", "--url", empty.url())


async def test_a_role_that_is_no_service_s_is_made_no_login(database: MigratedDatabase) -> None:
    """The role of the narrow functions could be logged in as, and the superuser's password was another one."""
    for name in ("postgres", "workflow_definer", "workflow_application"):
        message = await refused(LOGIN, "db", "create-login", name, "--url", database.admin_url)
        assert f"error LOGIN_NOT_FITTING at {name}: " in message
        assert message.endswith(" take another name\n")
    with psycopg.connect(database.admin_url) as connection:
        found = connection.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'workflow_definer'").fetchall()
    assert found == [(False,)]


async def test_a_login_that_two_make_at_once_is_made(database: MigratedDatabase) -> None:
    """The second one was told of a key of PostgreSQL's own tables."""
    for _ in range(5):
        name = f"together_{secrets.token_hex(4)}"
        made = ("db", "create-login", name, "--url", database.admin_url)
        answers = await asyncio.gather(*(workflows(LOGIN, *made) for _ in range(3)))
        assert answers == [{"login": name, "service": "workflows"}] * 3


@pytest.mark.parametrize(
    "url",
    [
        "hidden at nowhere",
        "mysql://ada:hidden@127.0.0.1/workflows",
        "postgresql://ada:hidden@127.0.0.1:port/workflows",
    ],
)
@pytest.mark.parametrize("arguments", [("upgrade",), ("create-login", "ada")])
async def test_a_url_that_is_none_is_refused_without_its_password(url: str, arguments: tuple[str, ...]) -> None:
    message = await refused(LOGIN, "db", *arguments, "--url", url, code=2)
    assert message.startswith("error SETTING_INVALID --url: ***: no URL such as postgresql://ROLE:PASSWORD@HOST")
    named = await refused({**LOGIN, "WORKFLOWS_ADMIN_URL": url}, "db", *arguments, code=2)
    assert named.startswith("error SETTING_INVALID WORKFLOWS_ADMIN_URL: ***: ")
    assert "hidden" not in message + named


async def test_a_server_that_is_not_there_is_told_with_its_address() -> None:
    for arguments in (("upgrade",), ("create-login", "ada")):
        message = await refused(LOGIN, "db", *arguments, "--url", "postgresql://ada:hidden@127.0.0.1:1/workflows")
        assert "error DATABASE_UNAVAILABLE: PostgreSQL at 127.0.0.1:1/workflows cannot be used: " in message
        assert message.endswith("; check --url or WORKFLOWS_ADMIN_URL\n")
        assert "hidden" not in message


async def test_the_driver_s_own_variables_say_whether_tls_is_required(
    environment: dict[str, str], database: MigratedDatabase
) -> None:
    """docs/operating/workflow-worker.md promises it; the tests' server has no TLS."""
    required = {**environment, **LOGIN, "PGSSLMODE": "require"}
    for arguments in (("runs", "list"), ("db", "upgrade", "--url", database.admin_url)):
        message = await refused(required, *arguments)
        assert "DATABASE_UNAVAILABLE" in message
        assert "server does not support SSL, but SSL was required" in message


async def test_a_table_that_somebody_holds_is_not_told_as_wrong_settings(
    db: Database, database: MigratedDatabase
) -> None:
    """It said to check the settings, of a server that answers."""
    with psycopg.connect(database.admin_url) as holder:
        holder.execute("LOCK TABLE workflow_runs IN ACCESS EXCLUSIVE MODE")
        async with db.tenant("acme") as conn:
            await conn.execute(text("SET LOCAL statement_timeout = 50"))
            with pytest.raises(DBAPIError) as raised:
                await list_runs(conn)
    told = of_database(raised.value, "127.0.0.1:5432/workflows", "check the settings", "")
    where = "DATABASE_UNAVAILABLE: PostgreSQL at 127.0.0.1:5432/workflows cannot be used: "
    said = "canceling statement due to statement timeout; it is busy, or somebody holds a lock: try again, and see who"
    assert f"{where}{said}" in str(told)
    assert "settings" not in str(told)


@pytest.fixture
def standing_by(database: MigratedDatabase, empty: EmbeddedPostgres) -> str:
    """The URL of a server without the schema; both take no writes, as one that stands by for another."""
    for url in (database.admin_url, empty.url()):
        with psycopg.connect(url, autocommit=True) as admin:
            statement = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on")
            admin.execute(statement.format(sql.Identifier(admin.info.dbname)))
    return empty.url()


async def test_a_server_that_takes_no_writes_is_told_so(environment: dict[str, str], standing_by: str) -> None:
    """It was told as a fault of ours, with a trace."""
    assert await workflows(environment, "runs", "list") == []
    for arguments in (
        ("events", "publish", "PAID", "--key", "k"),
        ("tokens", "create", "--name", "n", "--role", "operator"),
        ("db", "upgrade", "--url", standing_by),
    ):
        message = await refused(environment, *arguments)
        assert message.startswith("error DATABASE_UNAVAILABLE: PostgreSQL at 127.0.0.1:"), message
        told = "in a read-only transaction; the server is a standby, or has default_transaction_read_only on; check "
        assert told in message


async def test_a_process_says_that_its_server_takes_no_writes(database: MigratedDatabase, standing_by: str) -> None:
    """Its heartbeat died, again and again, with a trace each time."""
    said = []

    class Once:
        def mark(self, detail: str = "") -> None:
            said.append(detail)

        def degraded(self, reason: str) -> None:
            said.append(reason)

        async def pause(self, seconds: float) -> bool:
            return True

    async with engine_of(database.url) as engine:
        await keep_announced(Database(engine), Announcement("w@h:1", "workflow-worker", "1", []), Once())
    assert said == ["PostgreSQL does not answer: cannot execute INSERT in a read-only transaction"]


async def test_an_option_that_is_empty_names_no_tenant(environment: dict[str, str]) -> None:
    code, output, error = await command(environment, "runs", "list", "--tenant", "")
    assert (code, output) == (1, "")
    assert error == "error TENANT_MISSING at --tenant: name the tenant with --tenant or WORKFLOWS_TENANT\n"


async def test_the_development_stack_is_taken_at_its_word_whatever_the_environment_names(tmp_path: Path) -> None:
    elsewhere = {**LOGIN, "WORKFLOWS_ADMIN_URL": "postgresql://ada:hidden@127.0.0.1:1/workflows"}
    for arguments in (("upgrade",), ("create-login", "ada")):
        message = await refused(elsewhere, "db", *arguments, "--dev", "--state", str(tmp_path))
        assert message.startswith(f"error DEV_STACK_NOT_RUNNING at {tmp_path}")
