"""A statement by the driver, in a transaction of its own or of a connection, is to its callers as any other one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError

from harness.databases import MigratedDatabase, engine_of
from harness.run_records import TENANT
from workflows_core.storage.database import Database, is_unavailable, unavailable_reason
from workflows_core.storage.statements import is_contended, rows_of, value_of

pytestmark = pytest.mark.asyncio
_WHOSE = text("SELECT pg_backend_pid() AS pid")
_SLEEP = text("SELECT pg_sleep(:seconds)")
_CANCEL = text(
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
    " WHERE query LIKE 'SELECT pg_sleep(%' AND state = 'active' AND datname = current_database()"
)
_AT_ONCE = text("SELECT pg_backend_pid() AS pid FROM pg_sleep(0.2)")
_TENANT = text("SELECT set_config('workflows.tenant', :tenant, true), txid_current() AS number")

_SETTING = text("SELECT current_setting('workflows.tenant')")


class _TakenBack(Exception):
    pass


Way = Callable[[Database, TextClause, Mapping[str, Any]], Awaitable[Sequence[Mapping[str, Any]]]]


async def alone(db: Database, statement: TextClause, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return await rows_of(db, statement, values)


async def within(db: Database, statement: TextClause, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    async with db.tenant(TENANT) as conn:
        return await rows_of(conn, statement, values)


async def by_sqlalchemy(db: Database, statement: TextClause, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What the others are held to."""
    async with db.tenant(TENANT) as conn:
        rows = (await conn.execute(statement, values)).mappings().all()
    return [{str(name): value for name, value in row.items()} for row in rows]


BOTH = pytest.mark.parametrize("way", [alone, within])


async def whose(db: Database, way: Way = alone) -> int:
    [row] = await way(db, _WHOSE, {})
    found: int = row["pid"]
    return found


@BOTH
async def test_rows_are_those_of_any_other_statement(db: Database, way: Way) -> None:
    typed = text(
        "SELECT n, CAST(:json AS jsonb) AS json, CAST(:list AS text[]) AS list, CAST(:none AS text) AS none,"
        " '%' || :name AS name, CAST('2026-01-02T03:04:05Z' AS timestamptz) AS at FROM generate_series(1, 2) AS n"
    )
    values = {"json": '{"a": [1, null, "ü"]}', "list": ["a", "%s"], "none": None, "name": "100 %"}
    found = [dict(row) for row in await way(db, typed, values)]
    assert found == [dict(row) for row in await by_sqlalchemy(db, typed, values)]
    assert [(row["n"], row["json"], row["name"]) for row in found] == [
        (n, {"a": [1, None, "ü"]}, "%100 %") for n in (1, 2)
    ]
    assert list(await way(db, text("SELECT 1 WHERE false"), {})) == []
    assert list(await way(db, text("CREATE TEMPORARY TABLE here (n integer)"), {})) == []


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


@BOTH
async def test_an_error_is_told_as_of_any_other_statement_but_without_values(db: Database, way: Way) -> None:
    faulty, values = text("SELECT CAST(:value AS integer)"), {"value": "of a customer"}
    with pytest.raises(DBAPIError) as raised:
        await way(db, faulty, values)
    with pytest.raises(DBAPIError) as wanted:
        await by_sqlalchemy(db, faulty, values)
    assert type(raised.value) is type(wanted.value)
    assert repr(raised.value.orig) == repr(wanted.value.orig)
    assert (raised.value.connection_invalidated, is_unavailable(raised.value)) == (False, False)
    assert raised.value.params is None
    # The connection is of use still.
    assert await value_of(db, text("SELECT 1"), {}) == 1


@BOTH
async def test_after_a_restart_one_statement_fails_and_not_one_per_connection(
    database: MigratedDatabase, way: Way
) -> None:
    async with engine_of(database.url, pool_size=3, max_overflow=0) as engine:
        db = Database(engine)
        rows = await asyncio.gather(*(rows_of(db, _AT_ONCE, {}) for _ in range(3)))
        before = {row["pid"] for found in rows for row in found}
        assert len(before) == 3
        async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
            for pid in before:
                await admin.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
        with pytest.raises(DBAPIError) as raised:
            await whose(db, way)
        assert (raised.value.connection_invalidated, is_unavailable(raised.value)) == (True, True)
        assert "does not answer" in unavailable_reason(raised.value)
        rows = await asyncio.gather(*(rows_of(db, _AT_ONCE, {}) for _ in range(3)))
        assert before.isdisjoint(row["pid"] for found in rows for row in found)


@BOTH
async def test_one_that_the_server_cancels_is_tried_again_by_whoever_asked(db: Database, way: Way) -> None:
    asked = asyncio.ensure_future(way(db, _SLEEP, {"seconds": 60}))
    while not await rows_of(db, _CANCEL, {}):
        await asyncio.sleep(0.02)
    with pytest.raises(DBAPIError) as raised:
        await asked
    assert (is_unavailable(raised.value), is_contended(raised.value)) == (True, True)
    assert not raised.value.connection_invalidated


@BOTH
@pytest.mark.parametrize("how", ["the caller", "the limit of time"])
async def test_a_connection_that_was_given_up_is_used_by_nobody(database: MigratedDatabase, how: str, way: Way) -> None:
    async with engine_of(database.url, pool_size=1, max_overflow=0) as engine:
        db = Database(engine, within_seconds=0.5 if how == "the limit of time" else None)
        pid = await whose(db)
        asked = asyncio.ensure_future(way(db, _SLEEP, {"seconds": 60}))
        if how == "the caller":
            await asyncio.sleep(0.2)
            asked.cancel()
        with pytest.raises(TimeoutError if how == "the limit of time" else asyncio.CancelledError) as raised:
            await asked
        assert is_unavailable(raised.value) == (how == "the limit of time")
        assert await whose(db) != pid


@pytest.mark.parametrize("autocommit", [True, False])
async def test_a_call_that_is_cancelled_between_its_parts_leaves_no_connection_without_transactions(
    database: MigratedDatabase, monkeypatch: pytest.MonkeyPatch, autocommit: bool
) -> None:
    """What came next on that connection was no transaction: it did not see its tenant, and committed part by part."""
    reached = asyncio.Event()
    as_ever = psycopg.AsyncConnection.set_autocommit

    async def set_autocommit(self: psycopg.AsyncConnection, value: bool) -> None:
        await as_ever(self, value)
        if value == autocommit:
            # As on a busy loop, where the driver lets others go first.
            reached.set()
            await asyncio.Event().wait()

    async with engine_of(database.url, pool_size=1, max_overflow=0) as engine:
        db = Database(engine)
        with monkeypatch.context() as patched:
            patched.setattr(psycopg.AsyncConnection, "set_autocommit", set_autocommit)
            call = asyncio.create_task(db.alone(_WHOSE, {}))
            await reached.wait()
            call.cancel()
            with suppress(asyncio.CancelledError):
                await call
        async with db.tenant(TENANT) as conn:
            assert (await conn.execute(_SETTING)).scalar_one() == TENANT


async def test_a_transaction_that_goes_on_in_parts_has_its_time_for_each(database: MigratedDatabase) -> None:
    async with engine_of(database.url) as engine:
        db = Database(engine, within_seconds=1.5)
        async with db.narrow() as conn:
            db.within_seconds = 60
            db.go_on(conn)
            await rows_of(conn, _SLEEP, {"seconds": 2})
