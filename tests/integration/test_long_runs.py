"""What a run's write costs does not grow with what the run has behind it."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import text

from harness.databases import MigratedDatabase
from harness.run_records import EXECUTION, RUN, TENANT, a_log, a_wait, a_write, closed, rows
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
