"""The key-value store of a tenant: the real one, and the one for tests, which means the same."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from harness.databases import MigratedDatabase
from harness.run_records import rows
from workflows_core.actions.ports import KeyValueStore
from workflows_core.errors import ActionFailed
from workflows_core.storage.database import Database
from workflows_core.storage.key_values import PostgresKeyValueStore
from workflows_core.testing import MemoryStore

pytestmark = pytest.mark.asyncio(loop_scope="session")
NUMBERS = [0, 1, -2, 0.1, 0.2, 0.30, 2.0, -0.0, -2.5, 1e16, 1.5e300, 5e-324, 1e-7, 10**20, 123456789.123456789]
VALUES = [*NUMBERS, "text", "", None, True, [1, [0.10]], {"b": {"é": 1e20}, "a": []}, "a\0b", ["\ud800"], float("nan")]
KEYS = ["a", "a_1", "a%", "A", "é", "\uffff", "\U0001d11e"]


async def test_a_value_has_a_revision_that_grows(db: Database) -> None:
    async with db.tenant("acme") as conn:
        store = PostgresKeyValueStore(conn, "acme", "run")
        assert await store.get("n", "k") is None
        assert (await store.set("n", "k", {"a": [1, None]})).revision == 1
        assert (await store.set("n", "k", "again")).revision == 2
        found = await store.get("n", "k")
        assert found is not None
        assert (found.value, found.revision) == ("again", 2)
        assert await store.delete("n", "k") is True
        assert await store.delete("n", "k") is False


async def test_a_value_that_expired_is_gone(db: Database) -> None:
    async with db.tenant("acme") as conn:
        await PostgresKeyValueStore(conn, "acme", "run").set("n", "k", 1, ttl_ms=1)
    while True:
        async with db.tenant("acme") as conn:
            store = PostgresKeyValueStore(conn, "acme", "run")
            if await store.get("n", "k") is None:
                break
    async with db.tenant("acme") as conn:
        store = PostgresKeyValueStore(conn, "acme", "run")
        assert await store.list("n") == []
        assert (await store.increment("n", "k", 2)).value == 2


async def test_values_whose_time_is_over_are_taken_away_by_those_who_write_such(
    db: Database, database: MigratedDatabase
) -> None:
    """Nobody took one away: whoever remembers something for a day, each time under a new key, had all for ever."""
    old = text(
        "INSERT INTO workflow_data_store (tenant, namespace, key, value, expires_at)"
        " SELECT current_setting('workflows.tenant'), 'n', 'old-' || k, '1', now() - make_interval(secs => k)"
        " FROM generate_series(1, 2000) AS k"
    )
    read = text(
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'workflow_data_store'"
    )
    for tenant in ("acme", "other"):
        async with db.tenant(tenant) as conn:
            await conn.execute(old)
            await PostgresKeyValueStore(conn, tenant, "run").set("n", "stays", 1)
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        await admin.execute("ANALYZE")
    async with db.tenant("acme") as conn, db.tenant("acme") as another:
        assert (await PostgresKeyValueStore(another, "acme", "run").increment("n", "old-2000", 2)).value == 2
        # So few rows the planner would have read whole.
        await conn.execute(text("SET LOCAL enable_seqscan = off"))
        # It does not wait for the one that somebody has hold of.
        assert (await PostgresKeyValueStore(conn, "acme", "run").set("n", "new", 1, ttl_ms=3_600_000)).revision == 1
        assert (await conn.execute(read)).scalar_one() < 100
    left = {row["key"] for row in await rows(db, "workflow_data_store", tenant="acme")}
    assert left == {"stays", "new", "old-2000", *(f"old-{k}" for k in range(1, 1990))}
    assert len(await rows(db, "workflow_data_store", tenant="other")) == 2001


async def test_increments_at_once_all_count(db: Database) -> None:
    async def add() -> None:
        async with db.tenant("acme") as conn:
            await PostgresKeyValueStore(conn, "acme", "run").increment("n", "k", 1)

    await asyncio.gather(*(add() for _ in range(10)))
    async with db.tenant("acme") as conn:
        found = await PostgresKeyValueStore(conn, "acme", "run").get("n", "k")
    assert found is not None
    assert found.value == 10


async def test_only_numbers_are_added_to(db: Database) -> None:
    async with db.tenant("acme") as conn:
        store = PostgresKeyValueStore(conn, "acme", "run")
        await store.set("n", "k", "text")
        with pytest.raises(ActionFailed) as failed:
            await store.increment("n", "k", 1)
    assert failed.value.failure.code == "STORE_NOT_A_NUMBER"


async def test_a_list_is_by_key_below_a_prefix_and_of_one_tenant(db: Database) -> None:
    for tenant in ("acme", "other"):
        async with db.tenant(tenant) as conn:
            store = PostgresKeyValueStore(conn, tenant, "run")
            for key in ("b_1", "a_1", "a_2", "a%3"):
                await store.set("n", key, tenant)
    async with db.tenant("acme") as conn:
        store = PostgresKeyValueStore(conn, "acme", "run")
        assert [row.key for row in await store.list("n", prefix="a_")] == ["a_1", "a_2"]
        assert [row.key for row in await store.list("n", limit=1)] == ["a%3"]
        assert {row.value for row in await store.list("n")} == {"acme"}


async def done(store: KeyValueStore, operation: str, *given: Any, **options: Any) -> str:
    """What an operation gives or how it fails, as text that tells 1 and 1.0 apart; its values may be changed after."""
    given = deepcopy(given)
    try:
        found = await getattr(store, operation)(*given, **options)
    except ActionFailed as failed:
        return json.dumps(failed.failure.to_json())
    rows = found if isinstance(found, list) else [found]
    shown = json.dumps([vars_of(row) for row in rows], sort_keys=True)
    for value in (*given, *(getattr(row, "value", None) for row in rows)):
        if isinstance(value, list):
            value.append("changed afterwards")
    return shown


def vars_of(row: Any) -> Any:
    return row if isinstance(row, (bool, str, type(None))) else [row.key, row.value, row.revision]


def an_operation(chance: random.Random) -> tuple[list[Any], dict[str, Any]]:
    """Its name with what is given to it, and the options."""
    place = [chance.choice(["n", "m"]), chance.choice(KEYS)]
    match chance.randrange(8):
        case 0 | 1 | 2:
            return ["set", *place, chance.choice(VALUES)], {"ttl_ms": chance.choice([None, None, 0, 3_600_000])}
        case 3 | 4:
            return ["increment", *place, chance.choice([*NUMBERS, float("inf"), 10**400])], {}
        case 5:
            return ["list", place[0]], {
                "prefix": chance.choice(["", "a", "a_", "a%"]),
                "limit": chance.choice([2, 100]),
            }
        case 6:
            return ["list_namespaces"], {"limit": chance.choice([1, 100])}
    return [chance.choice(["get", "delete"]), *place], {}


@pytest.mark.parametrize("seed", range(4))
async def test_the_store_for_tests_does_what_the_real_one_does(db: Database, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - chosen operations, no secrets
    memory = MemoryStore()
    for _ in range(150):
        operation, options = an_operation(chance)
        async with db.tenant("acme") as conn:
            real = await done(PostgresKeyValueStore(conn, "acme", "run"), *operation, **options)
        assert await done(memory, *operation, **options) == real, (operation, options)


@asynccontextmanager
async def store_of(kind: str, db: Database, memory: MemoryStore) -> AsyncIterator[KeyValueStore]:
    if kind == "memory":
        yield memory
        return
    async with db.tenant("acme") as conn:
        yield PostgresKeyValueStore(conn, "acme", "run")


@pytest.mark.parametrize("kind", ["memory", "postgres"])
async def test_an_increment_keeps_the_time_to_live(db: Database, kind: str) -> None:
    memory, revision, ttl_ms = MemoryStore(), 1, 100
    while revision == 1:  # The first value was gone before.
        ttl_ms *= 2
        async with store_of(kind, db, memory) as store:
            await store.delete("n", "k")
            await store.set("n", "k", 1, ttl_ms=ttl_ms)
            revision = (await store.increment("n", "k", 1)).revision
    async with asyncio.timeout(30):
        found: Any = revision
        while found is not None:
            await asyncio.sleep(0.01)
            async with store_of(kind, db, memory) as store:
                found = await store.get("n", "k")
