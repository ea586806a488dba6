"""Row-level security (docs/adr/0005): found from the catalog, so that a new table cannot be forgotten."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from harness.databases import MigratedDatabase
from harness.interpreted import document
from harness.run_records import EXECUTION, a_call, a_wait, a_write, an_end, publish, rows
from workflows_core.actions.ports import Edge
from workflows_core.redaction import Redaction
from workflows_core.storage.api_tokens import create_token
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version, save_draft
from workflows_core.storage.entity_links import PostgresEntityLinks
from workflows_core.storage.event_catalog import upsert_event
from workflows_core.storage.key_values import PostgresKeyValueStore
from workflows_core.storage.ledger import complete
from workflows_core.storage.payload_schemas import upsert_schema
from workflows_core.storage.redaction_rules import set_redaction
from workflows_core.storage.routing import claim_for
from workflows_core.storage.run_writes import write_run
from workflows_core.storage.schedules import CalendarRow, WantedSchedule, store_calendar, store_schedule

pytestmark = pytest.mark.asyncio(loop_scope="session")


def tenant_tables(database: MigratedDatabase) -> dict[str, tuple[bool, bool]]:
    """Tables with a tenant: is row security on, is it forced."""
    with psycopg.connect(database.admin_url) as connection:
        found = connection.execute(
            """
            SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity FROM pg_class c
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped
             WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
            """
        ).fetchall()
    return {name: (on, forced) for name, on, forced in found}


async def fill(db: Database) -> None:
    """Rows of tenant acme in every table."""
    async with db.tenant("acme") as conn:
        await save_draft(conn, workflow_id="orders", key="orders", name="Orders", document=document())
        await publish_version(conn, "orders", document())
        await PostgresKeyValueStore(conn, "acme", "run-1").set("n", "k", 1)
        edge = Edge("n", "ticket", "1", "about", "asset", "2")
        await PostgresEntityLinks(conn, "acme", "run-1").upsert(edge, None)
        await create_token(conn, name="t", role="viewer")
        await upsert_schema(conn, "payload.A.v1", {})
        await upsert_event(conn, "A")
        await set_redaction(conn, Redaction(("email",)))
        await store_schedule(conn, WantedSchedule("s", "orders", 1, "S", "operator", cron="0 * * * *"))
        await store_calendar(conn, CalendarRow("c", "C", "UTC", {}, [], is_default=True))
    await publish(db, "e1")
    log = {"level": "INFO", "message": "m", "step_path": None, "context_json": None, "at": 0}
    facts = {"taskId": "t1", "taskType": "t", "title": "T", "assignedUsers": [], "assignedRoles": []}
    task = a_wait("t1", "t1", wait_type="human", event_name="HUMAN_TASK_COMPLETED", payload=facts)
    await write_run(db, a_write(1, waits=[a_wait(), task], logs=[log]), EXECUTION)
    call = a_call(2)
    await complete(db, call, an_end(call), "t", EXECUTION)
    async with db.tenant("acme") as conn:
        await conn.execute(
            text(
                "INSERT INTO workflow_event_deliveries (tenant, delivery_id, event_id, target_kind, target_id, run_id)"
                " VALUES ('acme', 'd1', 'e1', 'wait', 'wait-1', 'run-1')"
            )
        )
        await conn.execute(
            text(
                "INSERT INTO workflow_run_positions (tenant, run_id, event_name, key, since, processed_at, event_id)"
                " VALUES ('acme', 'run-1', 'PAID', 'key-1', now(), now(), 'e1')"
            )
        )
        await conn.execute(
            text(
                "INSERT INTO workflow_claim_positions (tenant, event_name, key, since, processed_at, event_id)"
                " VALUES ('acme', 'PAID', 'key-1', now(), now(), 'e1')"
            )
        )
        assert await claim_for(conn, "acme", "e1", "wait-1", "run-1")


async def test_every_table_with_a_tenant_is_forced_to_its_policy(database: MigratedDatabase) -> None:
    tables = tenant_tables(database)
    assert len(tables) >= 10
    assert {name for name, secured in tables.items() if secured != (True, True)} == set()


async def test_a_tenant_neither_sees_nor_touches_rows_of_another(db: Database, database: MigratedDatabase) -> None:
    await fill(db)
    for table in tenant_tables(database):
        assert len(await rows(db, table)) > 0, f"{table} has no row to hide"
        assert await rows(db, table, tenant="other") == []
        async with db.narrow() as conn:
            assert (await conn.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0
        if table != "workflow_definition_versions":
            async with db.tenant("other") as conn:
                assert (await conn.execute(text(f"UPDATE {table} SET tenant = tenant"))).rowcount == 0


async def test_nobody_writes_a_row_for_another_tenant(db: Database) -> None:
    statement = text("INSERT INTO workflow_data_store (tenant, namespace, key, value) VALUES ('acme', 'n', 'k', '1')")
    with pytest.raises(DBAPIError, match="row-level security"):
        async with db.tenant("other") as conn:
            await conn.execute(statement)


async def test_a_published_version_never_changes(db: Database) -> None:
    await fill(db)
    for statement in (
        "UPDATE workflow_definition_versions SET version = 2",
        "DELETE FROM workflow_definition_versions",
    ):
        with pytest.raises(DBAPIError, match="permission denied"):
            async with db.tenant("acme") as conn:
                await conn.execute(text(statement))


async def test_a_transaction_needs_a_tenant_and_forgets_it(db: Database) -> None:
    with pytest.raises(ValueError, match="tenant"):
        async with db.tenant(""):
            pass
    async with db.tenant("acme"):
        pass
    async with db.narrow() as conn:
        found = (await conn.execute(text("SELECT current_setting('workflows.tenant', true)"))).scalar_one()
    assert found in (None, "")


async def test_narrow_functions_see_all_tenants_and_give_identifiers_only(db: Database) -> None:
    await publish(db, "e1")
    await publish(db, "e2", tenant="other")
    async with db.narrow() as conn:
        found = (await conn.execute(text("SELECT * FROM workflow_pending_events(10)"))).mappings().all()
        ready = await conn.execute(text("SELECT * FROM workflow_ready_deliveries(10)"))
    assert {(row["tenant"], row["event_id"]) for row in found} == {("acme", "e1"), ("other", "e2")}
    assert set(found[0]) == {"tenant", "event_id"}
    assert set(ready.keys()) == {"tenant", "delivery_id"}
