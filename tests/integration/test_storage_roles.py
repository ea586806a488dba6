"""Who may do what: the migrating owner, the application role, and what neither may."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from harness.interpreted import document
from workflows_cli.embedded import EmbeddedPostgres
from workflows_cli.migrations.upgrade import create_login, current, upgrade
from workflows_core.errors import Refused
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version, save_draft
from workflows_core.storage.revision import REQUIRED_REVISION


@pytest.fixture(scope="module")
def owned() -> Iterator[tuple[str, str]]:
    """A database migrated by a role that owns it and is no superuser, on a server that has no roles of ours yet.

    The owner's URL and the superuser's.
    """
    with EmbeddedPostgres() as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE ROLE migrator LOGIN CREATEROLE PASSWORD 'm'")
            connection.execute("CREATE DATABASE owned OWNER migrator")
        url = server.url("owned", user="migrator", password="m")
        upgrade(url)
        yield url, server.url("owned")


def test_an_owner_without_superuser_rights_can_migrate(owned: tuple[str, str]) -> None:
    assert current(owned[0]) == REQUIRED_REVISION


def test_the_owner_is_bound_by_row_level_security_as_well(owned: tuple[str, str]) -> None:
    with psycopg.connect(owned[1]) as connection:
        connection.execute(
            "INSERT INTO workflow_data_store (tenant, namespace, key, value) VALUES ('acme', 'n', 'k', '1')"
        )
        table = connection.execute(
            "SELECT tableowner FROM pg_tables WHERE tablename = 'workflow_data_store'"
        ).fetchone()
    assert table == ("migrator",)
    with psycopg.connect(owned[0]) as connection:
        connection.execute("SELECT set_config('workflows.tenant', 'acme', true)")
        assert connection.execute("SELECT count(*) FROM workflow_data_store").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            connection.execute(
                "INSERT INTO workflow_data_store (tenant, namespace, key, value) VALUES ('acme','n','j','1')"
            )


def test_the_definer_of_narrow_functions_can_make_nothing(owned: tuple[str, str]) -> None:
    with psycopg.connect(owned[1]) as connection:
        connection.execute("SET ROLE workflow_definer")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE public.anything (n integer)")


@pytest.mark.asyncio
async def test_a_published_version_does_not_go_with_its_definition(db: Database) -> None:
    async with db.tenant("acme") as conn:
        await save_draft(conn, workflow_id="w", key="w", name="W", document=document())
        await publish_version(conn, "w", document())
    with pytest.raises(DBAPIError, match="foreign key"):
        async with db.tenant("acme") as conn:
            await conn.execute(text("DELETE FROM workflow_definitions"))


@pytest.mark.asyncio
async def test_a_tenant_that_was_set_once_does_not_leave_an_empty_one_behind(db: Database) -> None:
    insert = text("INSERT INTO workflow_data_store (tenant, namespace, key, value) VALUES ('', 'n', 'k', '1')")
    async with db.engine.connect() as conn:
        async with conn.begin():
            await conn.execute(text("SELECT set_config('workflows.tenant', 'acme', true)"))
        with pytest.raises(DBAPIError, match="row-level security"):
            async with conn.begin():
                await conn.execute(insert)


SERVICES = {
    "workflow-worker": {"workflow_runs": True, "workflow_api_tokens": False, "workflow_api_token(bytea)": False},
    "workflow-server": {"workflow_runs": True, "workflow_api_tokens": True, "workflow_api_token(bytea)": True},
    "workflows": {"workflow_runs": True, "workflow_api_tokens": True, "workflow_api_token(bytea)": True},
    "temporal-worker": {"workflow_runs": False, "workflow_api_tokens": False, "workflow_api_token(bytea)": False},
}


@pytest.mark.parametrize("service", SERVICES)
def test_a_login_may_do_what_its_service_does(owned: tuple[str, str], service: str) -> None:
    name = f"login_{service.replace('-', '_')}"
    # Made as one that may do everything, then as what it is to be.
    for wanted in ("workflows", service):
        create_login(owned[1], name, "p", wanted)
    with psycopg.connect(owned[1]) as connection:
        for thing, wanted_right in SERVICES[service].items():
            ask = (
                "has_function_privilege(%s, %s, 'EXECUTE')" if "(" in thing else "has_table_privilege(%s, %s, 'SELECT')"
            )
            assert connection.execute(f"SELECT {ask}", [name, thing]).fetchone() == (wanted_right,), thing


def test_the_owner_of_the_tables_is_made_no_login_and_makes_logins(owned: tuple[str, str]) -> None:
    """Whoever owns other tables of the database may be one."""
    with psycopg.connect(owned[1], autocommit=True) as connection:
        connection.execute("ALTER ROLE migrator NOCREATEROLE")
        try:
            with pytest.raises(
                Refused, match="LOGIN_NOT_FITTING at migrator: role migrator is there, and no service's"
            ):
                create_login(owned[1], "migrator", "p", "workflow-server")
        finally:
            connection.execute("ALTER ROLE migrator CREATEROLE")
        connection.execute("CREATE ROLE shop LOGIN")
        connection.execute("CREATE TABLE shop_orders ()")
        connection.execute("ALTER TABLE shop_orders OWNER TO shop")
        create_login(owned[1], "shop", "p", "workflow-server")
    for service in ("workflows", "workflow-worker"):
        create_login(owned[0], "made_by_the_owner", "p", service)


def test_narrow_functions_are_for_no_role_but_ours(owned: tuple[str, str]) -> None:
    with psycopg.connect(owned[1]) as connection:
        found = connection.execute(
            "SELECT p.proname, has_function_privilege('public', p.oid, 'EXECUTE') FROM pg_proc p"
            " WHERE p.proowner = 'workflow_definer'::regrole ORDER BY 1"
        ).fetchall()
    assert len(found) >= 7
    assert {name for name, public in found if public} == set()
