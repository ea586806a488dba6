"""What a run's write costs does not grow with what the run, or those it shares events with, have behind them."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from harness.databases import MigratedDatabase
from harness.ingress import route
from harness.run_records import (
    EXECUTION,
    RUN,
    TENANT,
    a_log,
    a_wait,
    a_write,
    closed,
    consumed,
    deliveries_of,
    publish,
    rows,
)
from workflows_core.storage.database import Database
from workflows_core.storage.run_writes import write_in, write_run

_BEHIND = 2000
_FETCHED = text(
    "SELECT relname, seq_tup_read + coalesce(idx_tup_fetch, 0) AS fetched FROM pg_stat_xact_user_tables"
    " WHERE relname IN"
    " ('workflow_run_waits', 'workflow_event_deliveries', 'workflow_run_logs', 'workflow_event_claims')"
)
_EVENTS = text(
    "INSERT INTO workflow_runtime_events (tenant, event_id, event_name, correlation_keys, status, processed_at)"
    " SELECT :tenant, 'e' || n, 'PAID', '{key-1}', 'routed', now()"
    " FROM generate_series(1, CAST(:behind AS integer)) AS n"
)
_WAITS = text(
    "INSERT INTO workflow_run_waits (tenant, wait_id, run_id, step_path, wait_type, event_name, key, look_back_from,"
    " status, matched_event_id, created_at, resolved_at)"
    " SELECT :tenant, 'w' || n, :run, 'root.steps[0].body[' || n || ']', 'event', 'PAID', 'key-1', now(), 'RESOLVED',"
    " 'e' || n, now(), now() FROM generate_series(1, CAST(:behind AS integer)) AS n"
)
_DELIVERIES = text(
    "INSERT INTO workflow_event_deliveries (tenant, delivery_id, event_id, target_kind, target_id, run_id, key, status)"
    " SELECT :tenant, 'd' || n, 'e' || n, 'wait', 'w' || n, :run, 'key-1', 'consumed'"
    " FROM generate_series(1, CAST(:behind AS integer)) AS n"
)
_CLAIMS = text(
    "INSERT INTO workflow_event_claims (tenant, event_id, wait_id, run_id)"
    " SELECT :tenant, 'e' || n, 'w' || n, :run FROM generate_series(1, CAST(:behind AS integer)) AS n"
)
_LOGS = text(
    "INSERT INTO workflow_run_logs (tenant, run_id, level, message, generation, sequence, ordinal, created_at)"
    " SELECT :tenant, :run, 'INFO', 'line ' || n, 0, 1, n, now() - make_interval(secs => n)"
    " FROM generate_series(1, CAST(:behind AS integer)) AS n"
)


@pytest.mark.asyncio
async def test_a_write_looks_at_what_is_open_and_at_lines_of_its_moment_only(
    db: Database, database: MigratedDatabase
) -> None:
    """It looked at every wait, delivery, claim and line that the run had had: one that loops for months stood still."""
    await write_run(db, a_write(1, waits=[a_wait("last", match="one")]), EXECUTION)
    async with db.tenant(TENANT) as conn:
        for statement in (_EVENTS, _WAITS, _DELIVERIES, _CLAIMS, _LOGS):
            await conn.execute(statement, {"tenant": TENANT, "run": RUN, "behind": _BEHIND})
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        await admin.execute("ANALYZE")
    async with db.tenant(TENANT) as conn:
        # So few rows the planner would have read whole.
        for way in ("seqscan", "hashjoin", "mergejoin"):
            await conn.execute(text(f"SET LOCAL enable_{way} = off"))
        write = a_write(2, closed=[closed("last", "TIMED_OUT")], waits=[a_wait("next", "key-2")], logs=[a_log("now")])
        await write_in(conn, write, EXECUTION)
        fetched = {row.relname: row.fetched for row in await conn.execute(_FETCHED)}
    assert all(count < _BEHIND / 10 for count in fetched.values()), fetched
    assert len(await rows(db, "workflow_run_logs")) == _BEHIND + 1


SHARED = 25
_EVENTS_FETCHED = text(
    "SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0) FROM pg_stat_xact_user_tables"
    " WHERE relname = 'workflow_runtime_events'"
)


async def opens(db: Database, run: str, **changes: Any) -> int:
    """Opens the wait of a run; how many events were looked at."""
    write = a_write(1, run_id=run, waits=[a_wait(run, match="one", **changes)])
    async with db.tenant(TENANT) as conn:
        before = (await conn.execute(_EVENTS_FETCHED)).scalar_one()
        await write_in(conn, write, f"execution of {run}")
        return int((await conn.execute(_EVENTS_FETCHED)).scalar_one() - before)


async def shared(db: Database, count: int = SHARED) -> list[str]:
    """Events of one key, each of which another run has claimed, in the order of their runs."""
    events = [f"e{number:02}" for number in range(count)]
    for event_id in events:
        await publish(db, event_id)
    await route(db)
    for number, event_id in enumerate(events):
        await opens(db, f"run-{number:02}")
        assert (await deliveries_of(db))[event_id, f"run-{number:02}"] == "new"
    return events


@pytest.mark.asyncio
async def test_a_wait_for_one_walks_over_no_events_that_others_have_claimed(db: Database) -> None:
    """Each wait that opened walked over all of them, under the lock of their key."""
    await shared(db)
    assert await opens(db, "next") < SHARED
    (position,) = await rows(db, "workflow_claim_positions")
    await publish(db, "new")
    await route(db)
    assert (await deliveries_of(db))["new", "next"] == "new"
    # A wait for all gets what others have claimed, and one that looks further back what was before.
    everybody = a_write(1, run_id="everybody", waits=[a_wait("everybody")])
    await write_run(db, everybody, "execution of everybody")
    assert (await deliveries_of(db))["e00", "everybody"] == "new"
    async with db.tenant(TENANT) as conn:
        older = text("UPDATE workflow_runtime_events SET processed_at = 'epoch' WHERE event_id = 'new'")
        await conn.execute(older)
        await conn.execute(text("DELETE FROM workflow_event_claims WHERE event_id = 'new'"))
    await opens(db, "wide", look_back_from=-1000)
    assert position["since"].timestamp() == 0
    assert (await deliveries_of(db))["new", "wide"] == "new"


@pytest.mark.asyncio
async def test_an_event_whose_claim_is_released_comes_to_the_next_wait_however_far_others_are(db: Database) -> None:
    events = await shared(db)
    await opens(db, "waiting")
    assert await rows(db, "workflow_claim_positions") != []
    over = a_write(2, run_id="run-03", waits=[], closed=[closed("run-03", "TIMED_OUT")])
    await write_run(db, over, "execution of run-03")
    await route(db)
    assert (await deliveries_of(db))[events[3], "waiting"] == "new"
    over = a_write(2, run_id="run-05", waits=[], closed=[closed("run-05", "TIMED_OUT")])
    await write_run(db, over, "execution of run-05")
    await route(db)
    assert await rows(db, "workflow_claim_positions") == []
    await opens(db, "late")
    assert (await deliveries_of(db))[events[5], "late"] == "new"


@pytest.mark.asyncio
async def test_what_a_run_passed_over_since_others_had_it_is_there_for_its_wait_for_all(db: Database) -> None:
    *_, last = await shared(db, 20)
    await opens(db, "first")
    (position,) = await rows(db, "workflow_claim_positions")
    assert position["event_id"] == last
    own = [f"own-{number:02}" for number in range(SHARED)]
    for event_id in own:
        await publish(db, event_id)
    await route(db)
    taken: list[Any] = [consumed("first", own[0])]
    for number, event_id in enumerate(own[1:], start=2):
        wait = a_wait(event_id, match="one")
        await write_run(db, a_write(number, run_id="first", waits=[wait], consumed=taken), "execution of first")
        taken = [consumed(event_id, event_id)]
    for _ in range(2):
        again = a_write(SHARED + 1, run_id="first", waits=[a_wait("again", match="one")], consumed=taken)
        await write_run(db, again, "execution of first")
    everybody = a_write(SHARED + 2, run_id="first", waits=[a_wait("everybody")])
    await write_run(db, everybody, "execution of first")
    assert (await deliveries_of(db))["e00", "everybody"] == "new"
