"""A statement in a transaction of its own, by the driver, behaves to its callers as every other one."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from harness.databases import MigratedDatabase, engine_of
from harness.run_records import TENANT
from workflows_core.storage.database import Database, is_unavailable, unavailable_reason
from workflows_core.storage.statements import is_contended, rows_of, value_of

pytestmark = pytest.mark.asyncio
_WHOSE = text("SELECT pg_backend_pid()")
_SLEEP = text("SELECT pg_sleep(:seconds)")
_CANCEL = text(
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
    " WHERE query LIKE 'SELECT pg_sleep(%' AND state = 'active' AND datname = current_database()"
)
_AT_ONCE = text("SELECT pg_backend_pid() AS pid FROM pg_sleep(0.2)")
_TENANT = text("SELECT set_config('workflows.tenant', :tenant, true), txid_current() AS number")


class _TakenBack(Exception):
    pass


async def whose(db: Database) -> int:
    found: int = await value_of(db, _WHOSE, {})
    return found


async def test_rows_are_the_same_alone_and_in_a_transaction(db: Database) -> None:
    typed = text(
        "SELECT n, CAST(:json AS jsonb) AS json, CAST(:list AS text[]) AS list, CAST(:none AS text) AS none,"
        " '%' || :name AS name, CAST('2026-01-02T03:04:05Z' AS timestamptz) AS at FROM generate_series(1, 2) AS n"
    )
    values = {"json": '{"a": [1, null, "ü"]}', "list": ["a", "%s"], "none": None, "name": "100 %"}
    alone = await rows_of(db, typed, values)
    async with db.tenant(TENANT) as conn:
        within = await rows_of(conn, typed, values)
    assert [dict(row) for row in alone] == [dict(row) for row in within]
    assert [(row["n"], row["json"], row["name"]) for row in alone] == [
        (n, {"a": [1, None, "ü"]}, "%100 %") for n in (1, 2)
    ]
    assert list(await rows_of(db, text("SELECT 1 WHERE false"), {})) == []


async def test_it_is_committed_and_leaves_the_connection_as_it_was(database: MigratedDatabase) -> None:
    async with engine_of(database.url, pool_size=1, max_overflow=0) as engine:
        db = Database(engine)
        pid = await whose(db)
        await db.alone(_TENANT, {"tenant": TENANT})
        # Only in its own transaction.
        assert await value_of(db, text("SELECT coalesce(current_setting('workflows.tenant', true), '')"), {}) == ""
        with suppress(_TakenBack):
            async with db.narrow() as conn:
                await conn.execute(text("CREATE TEMPORARY TABLE here (n integer)"))
                raise _TakenBack
        assert await value_of(db, text("SELECT to_regclass('pg_temp.here')"), {}) is None
        assert await whose(db) == pid


async def test_an_error_is_told_as_of_any_other_statement_but_without_values(db: Database) -> None:
    faulty = text("SELECT CAST(:value AS integer)")
    with pytest.raises(DBAPIError) as alone:
        await rows_of(db, faulty, {"value": "of a customer"})
    async with db.tenant(TENANT) as conn:
        with pytest.raises(DBAPIError) as within:
            await rows_of(conn, faulty, {"value": "of a customer"})
    assert type(alone.value) is type(within.value)
    assert repr(alone.value.orig) == repr(within.value.orig)
    assert (alone.value.connection_invalidated, is_unavailable(alone.value)) == (False, False)
    assert alone.value.params is None
    # The connection is of use still.
    assert await value_of(db, text("SELECT 1"), {}) == 1


async def test_after_a_restart_one_statement_fails_and_not_one_per_connection(database: MigratedDatabase) -> None:
    async with engine_of(database.url, pool_size=3, max_overflow=0) as engine:
        db = Database(engine)
        rows = await asyncio.gather(*(rows_of(db, _AT_ONCE, {}) for _ in range(3)))
        before = {row["pid"] for found in rows for row in found}
        assert len(before) == 3
        async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
            for pid in before:
                await admin.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
        with pytest.raises(DBAPIError) as raised:
            await whose(db)
        assert (raised.value.connection_invalidated, is_unavailable(raised.value)) == (True, True)
        assert "does not answer" in unavailable_reason(raised.value)
        rows = await asyncio.gather(*(rows_of(db, _AT_ONCE, {}) for _ in range(3)))
        assert before.isdisjoint(row["pid"] for found in rows for row in found)


async def test_one_that_the_server_cancels_is_tried_again_by_whoever_asked(db: Database) -> None:
    asked = asyncio.create_task(db.alone(_SLEEP, {"seconds": 60}))
    while not await rows_of(db, _CANCEL, {}):
        await asyncio.sleep(0.02)
    with pytest.raises(DBAPIError) as raised:
        await asked
    assert (is_unavailable(raised.value), is_contended(raised.value)) == (True, True)
    assert not raised.value.connection_invalidated


@pytest.mark.parametrize("how", ["the caller", "the limit of time"])
async def test_a_connection_that_was_given_up_is_used_by_nobody(database: MigratedDatabase, how: str) -> None:
    async with engine_of(database.url, pool_size=1, max_overflow=0) as engine:
        db = Database(engine, within_seconds=0.5 if how == "the limit of time" else None)
        pid = await whose(db)
        asked = asyncio.create_task(db.alone(_SLEEP, {"seconds": 60}))
        if how == "the caller":
            await asyncio.sleep(0.2)
            asked.cancel()
        with pytest.raises(TimeoutError if how == "the limit of time" else asyncio.CancelledError) as raised:
            await asked
        assert is_unavailable(raised.value) == (how == "the limit of time")
        assert await whose(db) != pid
