"""Run rows as launchers write them and readers list them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from harness.run_records import EXECUTION, a_write
from workflows_core.errors import Failure
from workflows_core.storage.database import Database
from workflows_core.storage.rows import RunRow
from workflows_core.storage.run_logs import append_log
from workflows_core.storage.run_writes import write_run
from workflows_core.storage.runs import (
    NewRun,
    get_run,
    insert_run,
    list_runs,
    mark_launch_failed,
    mark_running,
    run_timeline,
    runs_in_place_of,
)

TENANT = "acme"
pytestmark = pytest.mark.asyncio


def a_run(run_id: str = "run-1", **changes: Any) -> NewRun:
    fields = {"workflow_id": "orders", "workflow_version": 1, "definition_hash": "hash", "payload": {"n": 1}}
    return NewRun(run_id=run_id, **{**fields, **changes})


async def inserted(db: Database, run: NewRun) -> RunRow:
    async with db.tenant(TENANT) as conn:
        return (await insert_run(conn, run))[0]


async def found(db: Database, run_id: str = "run-1", tenant: str = TENANT) -> RunRow | None:
    async with db.tenant(tenant) as conn:
        return await get_run(conn, run_id)


async def test_a_new_run_is_starting_and_its_own_root(db: Database) -> None:
    row = await inserted(db, a_run())
    assert (row.status, row.root_run_id, row.input_json) == ("STARTING", "run-1", {"n": 1})
    assert row.temporal_workflow_id == "workflow-runtime-v2:run:run-1"
    assert row == await found(db)
    assert await found(db, tenant="other") is None


async def test_the_same_run_or_firing_is_inserted_once(db: Database) -> None:
    first = await inserted(db, a_run(trigger_fire_key="fire-1"))
    assert await inserted(db, a_run(workflow_id="another", payload=None)) == first
    assert await inserted(db, a_run("run-2", trigger_fire_key="fire-1")) == first
    assert await found(db, "run-2") is None


async def test_two_tenants_may_have_runs_of_one_id(db: Database) -> None:
    await inserted(db, a_run())
    async with db.tenant("other") as conn:
        row, new = await insert_run(conn, a_run(workflow_id="theirs"))
    assert (row.workflow_id, new) == ("theirs", True)


async def test_a_started_run_is_running_with_its_first_execution(db: Database) -> None:
    await inserted(db, a_run())
    for execution in ("first", "later", None):
        async with db.tenant(TENANT) as conn:
            await mark_running(conn, TENANT, "run-1", execution)
    row = await found(db)
    assert row is not None
    assert (row.status, row.temporal_run_id) == ("RUNNING", "first")


async def test_a_run_that_was_quicker_than_its_launcher_keeps_its_own_status(db: Database) -> None:
    await inserted(db, a_run())
    await write_run(db, a_write(1, status="SUCCEEDED", result_json={"ok": True}), EXECUTION)
    async with db.tenant(TENANT) as conn:
        await mark_running(conn, TENANT, "run-1", EXECUTION)
        assert not await mark_launch_failed(conn, "run-1", Failure("ActionError", "lost"))
    row = await found(db)
    assert row is not None
    assert (row.status, row.result_json, row.error_json) == ("SUCCEEDED", {"ok": True}, None)


async def test_a_launch_that_failed_ends_the_run_with_its_reason(db: Database) -> None:
    await inserted(db, a_run())
    failure = Failure("ValidationError", "the payload does not fit", code="PAYLOAD_INVALID")
    async with db.tenant(TENANT) as conn:
        assert await mark_launch_failed(conn, "run-1", failure)
    row = await found(db)
    assert row is not None
    assert (row.status, row.error_json) == ("FAILED", failure.to_json())
    assert row.completed_at is not None


async def test_what_was_started_in_place_of_a_run_is_found_among_many(db: Database) -> None:
    """Every run of the tenant was read for it."""
    read = text(
        "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = 'workflow_runs'"
    )
    others = text(
        "INSERT INTO workflow_runs (tenant, run_id, workflow_id, workflow_version, status, temporal_workflow_id,"
        " definition_hash, runtime_semantics_version)"
        " SELECT current_setting('workflows.tenant'), 'other-' || n, 'orders', 1, 'SUCCEEDED', 'of other-' || n,"
        " 'hash', 1 FROM generate_series(1, 2000) AS n"
    )
    await inserted(db, a_run())
    for new, metadata in (("again", {"redriveOfRunId": "run-1"}), ("another's", {"redriveOfRunId": "run-2"})):
        await inserted(db, a_run(new, trigger_metadata=metadata))
        async with db.tenant(TENANT) as conn:
            await append_log(conn, "run-1", f"redriven (run {new})")
    async with db.tenant(TENANT) as conn:
        await conn.execute(others)
    async with db.tenant(TENANT) as conn:
        # So few rows the planner would have read whole.
        await conn.execute(text("SET LOCAL enable_seqscan = off"))
        assert await runs_in_place_of(conn, "run-1") == ["again"]
        assert (await conn.execute(read)).scalar_one() < 100


async def test_runs_are_listed_newest_first_by_status_and_workflow(db: Database) -> None:
    for run_id, workflow in (("a", "orders"), ("b", "orders"), ("c", "mails")):
        await inserted(db, a_run(run_id, workflow_id=workflow))
    async with db.tenant(TENANT) as conn:
        await mark_running(conn, TENANT, "a", None)
        assert [run.run_id for run in await list_runs(conn)] == ["c", "b", "a"]
        assert [run.run_id for run in await list_runs(conn, limit=2)] == ["c", "b"]
        assert [run.run_id for run in await list_runs(conn, workflow_id="orders")] == ["b", "a"]
        assert [run.run_id for run in await list_runs(conn, status="RUNNING")] == ["a"]
    async with db.tenant("other") as conn:
        assert await list_runs(conn) == []


async def test_there_is_no_timeline_of_what_is_not_the_tenants(db: Database) -> None:
    await inserted(db, a_run())
    async with db.tenant("other") as conn:
        assert await run_timeline(conn, "run-1") is None
    async with db.tenant(TENANT) as conn:
        timeline = await run_timeline(conn, "run-1")
    assert timeline is not None
    assert (timeline.steps, timeline.waits, timeline.run.to_json()["workflowVersion"]) == ([], [], 1)


async def test_lines_that_are_added_at_the_same_time_are_all_there(db: Database) -> None:
    """The second of two operators got a unique violation, and what they had asked for was not done."""
    await inserted(db, a_run())

    async def add(message: str) -> None:
        async with db.tenant(TENANT) as conn:
            await append_log(conn, "run-1", message)
            await asyncio.sleep(0.05)

    await asyncio.gather(*(add(f"line {number}") for number in range(4)))
    async with db.tenant(TENANT) as conn:
        timeline = await run_timeline(conn, "run-1")
    assert timeline is not None
    assert sorted(line.message for line in timeline.logs) == [f"line {number}" for number in range(4)]
