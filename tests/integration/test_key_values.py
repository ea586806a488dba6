"""The key-value store of a tenant."""

from __future__ import annotations

import asyncio

import pytest

from workflows_core.errors import ActionFailed
from workflows_core.storage.database import Database
from workflows_core.storage.key_values import PostgresKeyValueStore

pytestmark = pytest.mark.asyncio(loop_scope="session")


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
