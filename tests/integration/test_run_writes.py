"""The run write (docs/adr/0006): each test fails when its rule is taken out of the SQL."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from harness.databases import MigratedDatabase
from harness.ingress import route
from harness.interpreted import document
from harness.run_records import (
    EXECUTION,
    OPENED,
    RUN,
    TENANT,
    a_log,
    a_step,
    a_wait,
    a_write,
    closed,
    consumed,
    deliveries_of,
    publish,
    rows,
    run_row,
    waits_of,
)
from workflows_core.actions.registry import ActionRegistry
from workflows_core.publishing.publish import import_definition, publish_definition
from workflows_core.storage.begun_runs import restore_row
from workflows_core.storage.database import Database
from workflows_core.storage.run_writes import add_deliveries, new_delivery, write_run
from workflows_core.storage.statements import RunReset
from workflows_core.wire.messages import RunInput


async def write(db: Database, sequence: int, *, execution: str = EXECUTION, **changes: Any) -> None:
    await write_run(db, a_write(sequence, **changes), execution)


@pytest.mark.asyncio
async def test_the_first_write_of_a_run_without_row_brings_the_row(db: Database) -> None:
    await write(db, 1)
    row = await run_row(db)
    assert row["status"] == "RUNNING"
    assert row["temporal_run_id"] == EXECUTION
    assert row["temporal_workflow_id"] == f"workflow-runtime-v2:run:{RUN}"
    assert row["definition_hash"] == "hash"
    assert (row["generation"], row["sequence"]) == (0, 1)


@pytest.mark.asyncio
async def test_a_run_whose_row_was_lost_gets_one_with_the_hash_of_its_version(db: Database) -> None:
    async with db.tenant(TENANT) as conn:
        await import_definition(conn, document({"type": "control.return"}), key="orders")
    published = await publish_definition(db, TENANT, "orders", ActionRegistry.of({}), accept_unknown_actions=True)
    await write(db, 5, workflow_id=published.workflow_id, workflow_version=published.version, definition_hash=None)
    assert (await run_row(db))["definition_hash"] == published.definition_hash


@pytest.mark.asyncio
async def test_a_run_whose_row_comes_back_has_the_root_of_its_parent(db: Database) -> None:
    async with db.tenant(TENANT) as conn:
        await import_definition(conn, document({"type": "control.return"}), key="orders")
    published = await publish_definition(db, TENANT, "orders", ActionRegistry.of({}), accept_unknown_actions=True)
    await write(db, 1)
    parents = {"child": RUN, "grandchild": "child", "orphan": "gone"}
    for run_id, parent in parents.items():
        await restore_row(db, RunInput(run_id, TENANT, published.workflow_id, published.version), parent)
    found = {row["run_id"]: (row["parent_run_id"], row["root_run_id"]) for row in await rows(db, "workflow_runs")}
    assert found == {
        RUN: (None, RUN),
        "child": (RUN, RUN),
        "grandchild": ("child", RUN),
        "orphan": ("gone", "gone"),
    }


@pytest.mark.asyncio
async def test_an_idle_run_is_waiting_and_says_for_what(db: Database) -> None:
    what = {"waits": [{"kind": "event", "key": "key-1"}]}
    await write(db, 1, status="WAITING", waiting_for=what, waits=[a_wait()])
    row = await run_row(db)
    assert (row["status"], row["waiting_for"]) == ("WAITING", what)
    await write(db, 2, status="RUNNING", node_path="root.steps[2]")
    row = await run_row(db)
    assert (row["status"], row["waiting_for"], row["node_path"]) == ("RUNNING", None, "root.steps[2]")


@pytest.mark.asyncio
async def test_an_older_write_after_a_newer_one_changes_neither_status_nor_waits(db: Database) -> None:
    await write(db, 2, status="WAITING", waits=[a_wait("new")], node_path="root.steps[4]")
    await write(db, 1, status="RUNNING", waits=[a_wait("old")], node_path="root.steps[1]")
    row = await run_row(db)
    assert (row["status"], row["node_path"], row["sequence"]) == ("WAITING", "root.steps[4]", 2)
    assert await waits_of(db) == {"new": "WAITING"}


@pytest.mark.asyncio
async def test_a_higher_generation_is_newer_whatever_its_sequence(db: Database) -> None:
    await write(db, 9, waits=[a_wait("first")])
    await write(db, 1, generation=1, execution="execution-2", waits=[a_wait("second")])
    await write(db, 10, waits=[a_wait("zombie")])
    assert await waits_of(db) == {"first": "CANCELED", "second": "WAITING"}
    assert (await run_row(db))["generation"] == 1


@pytest.mark.asyncio
async def test_a_newer_write_that_says_nothing_of_waits_does_not_hold_back_an_older_one_that_opens_them(
    db: Database,
) -> None:
    await write(db, 2)
    await write(db, 1, waits=[a_wait()])
    assert await waits_of(db) == {"wait-1": "WAITING"}
    assert (await run_row(db))["sequence"] == 2


@pytest.mark.asyncio
async def test_consumption_in_an_older_write_still_counts(db: Database) -> None:
    await write(db, 1, waits=[a_wait(), a_wait("other", "key-2")])
    await publish(db, "event-1")
    await route(db)
    await write(db, 3, waits=[a_wait(), a_wait("other", "key-2")])
    await write(db, 2, consumed=[consumed("wait-1", "event-1")], waits=[])
    assert await waits_of(db) == {"wait-1": "RESOLVED", "other": "WAITING"}
    assert await deliveries_of(db) == {("event-1", "wait-1"): "consumed"}
    (resolved, _) = await rows(db, "workflow_run_waits", order="wait_id DESC")
    assert resolved["matched_event_id"] == "event-1"


@pytest.mark.asyncio
async def test_a_wait_that_is_not_named_is_closed_and_its_deliveries_get_their_verdict(db: Database) -> None:
    timed_out, gone, taken = a_wait("timed-out", "key-1"), a_wait("gone", "key-2"), a_wait("taken", "key-3")
    await write(db, 1, waits=[timed_out, gone, taken])
    for event_id, key in (("e1", "key-1"), ("e2", "key-2"), ("e3", "key-3"), ("e4", "key-3")):
        await publish(db, event_id, key)
    await route(db)
    await write(db, 2, closed=[closed("timed-out", "TIMED_OUT")], consumed=[consumed("taken", "e3")], waits=[])
    assert await waits_of(db) == {"timed-out": "TIMED_OUT", "gone": "CANCELED", "taken": "RESOLVED"}
    assert await deliveries_of(db) == {
        ("e1", "timed-out"): "late",
        ("e2", "gone"): "unknown",
        ("e3", "taken"): "consumed",
    }, "a wait takes one event, so e4 was not sent to it"
    await write(db, 3, waits=[a_wait("next", "key-3")])
    assert (await deliveries_of(db))["e4", "next"] == "new"


@pytest.mark.asyncio
async def test_a_wait_that_refused_an_event_looks_back_for_the_next(db: Database) -> None:
    await write(db, 1, waits=[a_wait()])
    for event_id in ("e1", "e2", "e3"):
        await publish(db, event_id)
    await route(db)
    assert await deliveries_of(db) == {("e1", "wait-1"): "new"}
    refused = [{"wait_id": "wait-1", "event_id": "e1", "reason": "does not fit"}]
    for sequence in (2, 3):
        await write(db, sequence, waits=[a_wait()], refused=refused)
        assert await deliveries_of(db) == {("e1", "wait-1"): "undeliverable", ("e2", "wait-1"): "new"}


@pytest.mark.asyncio
async def test_a_wait_that_refused_an_event_and_is_sent_another_looks_back_for_no_third(db: Database) -> None:
    await write(db, 1, waits=[a_wait()])
    for event_id in ("e1", "e2", "e3"):
        await publish(db, event_id)
    await route(db)
    # As an operator who sets a dead delivery going again.
    async with db.tenant(TENANT) as conn:
        await add_deliveries(conn, TENANT, [new_delivery("e2", "wait", "wait-1", RUN, "key-1")])
    refused: Any = [{"wait_id": "wait-1", "event_id": "e1", "reason": "no"}]
    await write(db, 2, waits=[a_wait()], refused=refused)
    assert await deliveries_of(db) == {("e1", "wait-1"): "undeliverable", ("e2", "wait-1"): "new"}


@pytest.mark.asyncio
async def test_a_final_verdict_is_final(db: Database) -> None:
    await write(db, 1, waits=[a_wait()])
    await publish(db, "event-1")
    await route(db)
    await write(db, 2, closed=[closed("wait-1", "TIMED_OUT")], waits=[])
    await write(db, 3, consumed=[consumed("wait-1", "event-1")], waits=[])
    assert await deliveries_of(db) == {("event-1", "wait-1"): "late"}
    assert await waits_of(db) == {"wait-1": "TIMED_OUT"}


@pytest.mark.asyncio
async def test_a_closed_row_never_opens_again(db: Database) -> None:
    await write(db, 1, waits=[a_wait()])
    await write(db, 2, waits=[])
    await publish(db, "event-1")
    await route(db)
    await write(db, 3, waits=[a_wait()])
    assert await waits_of(db) == {"wait-1": "CANCELED"}
    assert await deliveries_of(db) == {}


@pytest.mark.asyncio
async def test_hole_27_look_back_finds_an_event_routed_before_the_wait_had_a_row(db: Database) -> None:
    await write(db, 1)
    await publish(db, "early")
    await publish(db, "other-key", "key-2")
    await publish(db, "other-name", event_name="REFUNDED")
    await route(db)
    assert await deliveries_of(db) == {}
    await write(db, 2, waits=[a_wait()])
    assert await deliveries_of(db) == {("early", "wait-1"): "new"}


@pytest.mark.asyncio
async def test_look_back_applies_the_filters_and_derived_keys(db: Database) -> None:
    await write(db, 1)
    await publish(db, "small", None, payload={"invoiceId": "key-1", "amount": 5})
    await publish(db, "large", None, payload={"invoiceId": "key-1", "amount": 50})
    await route(db)
    await write(db, 2, waits=[a_wait(filters=[{"path": "amount", "op": ">", "value": 10}])])
    assert await deliveries_of(db) == {("large", "wait-1"): "new"}


@pytest.mark.asyncio
async def test_look_back_goes_by_the_time_of_routing_and_not_of_publishing(
    db: Database, database: MigratedDatabase
) -> None:
    await write(db, 1)
    await publish(db, "routed-late")
    await publish(db, "routed-early")
    await route(db)
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        await admin.execute(
            "UPDATE workflow_runtime_events SET created_at = '2020-01-01' WHERE event_id = 'routed-late'"
        )
        await admin.execute(
            "UPDATE workflow_runtime_events SET processed_at = '2020-01-01' WHERE event_id = 'routed-early'"
        )
    await write(db, 2, waits=[a_wait(look_back_from=OPENED)])
    assert await deliveries_of(db) == {("routed-late", "wait-1"): "new"}


@pytest.mark.asyncio
async def test_look_back_leaves_pending_events_to_the_router_which_then_finds_the_wait(db: Database) -> None:
    await write(db, 1)
    await publish(db, "event-1")
    await write(db, 2, waits=[a_wait()])
    assert await deliveries_of(db) == {}
    await route(db)
    assert await deliveries_of(db) == {("event-1", "wait-1"): "new"}


@pytest.mark.asyncio
async def test_an_event_that_an_earlier_wait_of_the_run_consumed_is_not_matched_again(db: Database) -> None:
    await write(db, 1, waits=[a_wait("round-1")])
    await publish(db, "event-1")
    await route(db)
    await write(db, 2, consumed=[consumed("round-1", "event-1")], waits=[a_wait("round-2")])
    assert await deliveries_of(db) == {("event-1", "round-1"): "consumed"}
    await write(db, 3, waits=[a_wait("round-3")])
    assert await deliveries_of(db) == {("event-1", "round-1"): "consumed"}
    await publish(db, "event-2")
    await route(db)
    assert (await deliveries_of(db))[("event-2", "round-3")] == "new"


@pytest.mark.asyncio
async def test_a_consumption_without_row_excludes_its_event_from_the_same_write(db: Database) -> None:
    await write(db, 1)
    await publish(db, "event-1")
    await route(db)
    await write(db, 2, consumed=[consumed("never-written", "event-1")], waits=[a_wait("round-2")])
    assert await deliveries_of(db) == {}


@pytest.mark.asyncio
async def test_look_back_wakes_the_sender_at_commit(db: Database, database: MigratedDatabase) -> None:
    await write(db, 1)
    await publish(db, "early")
    await route(db)
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as listener:
        await listener.execute("LISTEN workflow_events")
        await write(db, 2, waits=[a_wait()])
        hints = [hint.channel async for hint in listener.notifies(timeout=10, stop_after=1)]
    assert hints == ["workflow_events"]


@pytest.mark.asyncio
async def test_an_event_and_its_wait_that_meet_at_the_same_moment_never_miss_each_other(db: Database) -> None:
    """Router and run write take the key's lock, so that whoever is second sees the other."""
    await write(db, 1)
    for turn in range(25):
        key = f"key-{turn}"
        await publish(db, f"event-{turn}", key)
        await asyncio.gather(write(db, 2 + turn, waits=[a_wait(f"wait-{turn}", key)]), route(db))
        assert (await deliveries_of(db)).get((f"event-{turn}", f"wait-{turn}")) is not None, turn


@pytest.mark.parametrize("key", ["key-old", "key-new", "key-kept"])
@pytest.mark.asyncio
async def test_a_write_takes_the_locks_of_the_waits_it_opens_and_closes_and_of_one_that_refused(
    db: Database, database: MigratedDatabase, key: str
) -> None:
    kept = a_wait("kept", "key-kept")
    refused: Any = [{"wait_id": "kept", "event_id": "e1", "reason": "no"}]
    await write(db, 1, waits=[a_wait("old", "key-old"), kept])
    async with await psycopg.AsyncConnection.connect(database.url) as holder:
        await holder.execute("SELECT workflow_lock_keys(%s, ARRAY['PAID'], ARRAY[%s])", (TENANT, key))
        held = asyncio.create_task(write(db, 2, waits=[kept, a_wait("new", "key-new")], refused=refused))
        while not await _somebody_waits_for_a_lock(database):
            assert not held.done()
            await asyncio.sleep(0.01)
        await holder.rollback()
    await held


async def _somebody_waits_for_a_lock(database: MigratedDatabase) -> bool:
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        found = await (await admin.execute(query)).fetchone()
    return found is not None and found[0] > 0


@pytest.mark.asyncio
async def test_the_end_closes_everything_once(db: Database) -> None:
    open_step = a_step(1, "STARTED", "root.steps[1]")
    retrying = a_step(1, "RETRY_SCHEDULED", "root.steps[2]")
    await write(db, 1, status="WAITING", waits=[a_wait()], steps=[open_step, retrying, a_step(1)])
    await publish(db, "event-1")
    await route(db)
    failure = {"category": "ActionError", "message": "no"}
    await write(db, 2, status="FAILED", node_path=None, waits=[], error_json=failure)
    row = await run_row(db)
    assert (row["status"], row["error_json"], row["node_path"]) == ("FAILED", failure, None)
    assert row["completed_at"] is not None
    assert await waits_of(db) == {"wait-1": "CANCELED"}
    assert await deliveries_of(db) == {("event-1", "wait-1"): "unknown"}
    steps = {step["step_path"]: step["status"] for step in await rows(db, "workflow_run_steps")}
    assert steps == {"root.steps[0]": "SUCCEEDED", "root.steps[1]": "CANCELED", "root.steps[2]": "CANCELED"}


@pytest.mark.asyncio
async def test_a_final_status_stays_and_an_ended_run_opens_no_wait(db: Database) -> None:
    await write(db, 1, status="SUCCEEDED", node_path=None, waits=[], result_json={"scopes": {}})
    await write(db, 2, status="RUNNING", waits=[a_wait()])
    await write(db, 3, status="CANCELED", waits=[])
    row = await run_row(db)
    assert (row["status"], row["result_json"]) == ("SUCCEEDED", {"scopes": {}})
    assert await waits_of(db) == {}


@pytest.mark.asyncio
async def test_a_step_is_one_row_a_visit_and_older_records_never_overwrite_newer_ones(db: Database) -> None:
    await write(db, 2, steps=[a_step(2, "SUCCEEDED")])
    await write(db, 1, steps=[a_step(1, "FAILED", output_json=None)])
    (row,) = await rows(db, "workflow_run_steps")
    assert (row["status"], row["sequence"], row["output_json"]) == ("SUCCEEDED", 2, {"n": 2})
    assert row["duration_ms"] == 250


@pytest.mark.asyncio
async def test_records_of_one_visit_in_one_write_count_by_progress_and_never_take_the_row_back(db: Database) -> None:
    await write(db, 1, steps=[a_step(1, "STARTED"), a_step(1, "SUCCEEDED")])
    # The final write repeats what is not acknowledged, stamped with its own fence.
    await write(db, 2, steps=[a_step(2, "STARTED")])
    (row,) = await rows(db, "workflow_run_steps")
    assert row["status"] == "SUCCEEDED"
    await write(db, 3, steps=[a_step(3, "STARTED", attempt=2)])
    (row,) = await rows(db, "workflow_run_steps")
    assert (row["status"], row["attempt"]) == ("STARTED", 2)


@pytest.mark.asyncio
async def test_the_invocation_of_a_short_action_travels_with_its_step(db: Database) -> None:
    invocation = {
        "action_id": "text.upper",
        "action_version": 1,
        "idempotency_key": "key",
        "status": "FAILED",
        "attempt": 1,
        "input_json": {"a": 1},
        "output_json": None,
        "error_json": {"category": "ActionError", "message": "no"},
    }
    again = {**invocation, "status": "SUCCEEDED", "attempt": 2, "output_json": "A", "error_json": None}
    await write(db, 1, steps=[a_step(1, "FAILED", invocation={**invocation, "attempt": 2})])
    await write(db, 2, steps=[a_step(2, "FAILED", invocation=invocation)])
    assert (await rows(db, "workflow_action_invocations"))[0]["attempt"] == 2, "an older attempt's record comes late"
    await write(db, 3, steps=[a_step(3, attempt=2, invocation=again)])
    await write(db, 4, steps=[a_step(4, "FAILED", invocation=invocation)])
    (row,) = await rows(db, "workflow_action_invocations")
    assert (row["status"], row["attempt"], row["output_json"]) == ("SUCCEEDED", 2, "A")
    assert row["owner_token"] is None


@pytest.mark.asyncio
async def test_a_repeated_write_changes_nothing(db: Database) -> None:
    await publish(db, "early")
    await route(db)
    tables = ("workflow_run_steps", "workflow_run_waits", "workflow_run_logs", "workflow_event_deliveries")
    content: dict[str, Any] = {
        "waits": [a_wait()],
        "steps": [a_step(1)],
        "logs": [a_log("one"), a_log("one"), a_log("two")],
    }
    await write(db, 1, **content)
    before = [await rows(db, table) for table in tables]
    await write(db, 1, **content)
    assert [await rows(db, table) for table in tables] == before
    assert [line["message"] for line in before[2]] == ["one", "one", "two"]


@pytest.mark.asyncio
async def test_a_log_line_that_a_later_write_repeats_is_there_once(db: Database) -> None:
    await write(db, 1, logs=[a_log("one")])
    await write(db, 2, logs=[a_log("one"), a_log("two")])
    assert [line["message"] for line in await rows(db, "workflow_run_logs", order="log_id")] == ["one", "two"]


@pytest.mark.asyncio
async def test_text_that_the_database_cannot_hold_does_not_wedge_a_run(db: Database) -> None:
    await write(db, 1, steps=[a_step(1, output_json={"a\x00b": "\x00\ud800", "kept": "\\u0000 ä 🙂"})])
    (row,) = await rows(db, "workflow_run_steps")
    assert row["output_json"] == {"a\ufffdb": "\ufffd\ufffd", "kept": "\\u0000 ä 🙂"}


@pytest.mark.asyncio
async def test_an_execution_that_is_not_the_runs_own_is_refused_and_writes_nothing(db: Database) -> None:
    await write(db, 1)
    with pytest.raises(RunReset) as caught:
        await write(db, 2, execution="reset", status="SUCCEEDED", steps=[a_step(2)])
    assert caught.value.code == "RUN_RESET"
    assert (await run_row(db))["status"] == "RUNNING"
    assert await rows(db, "workflow_run_steps") == []


@pytest.mark.asyncio
async def test_continue_as_new_is_no_reset_but_a_reset_after_it_is(db: Database) -> None:
    await write(db, 5)
    await write(db, 1, generation=1, execution="execution-2")
    await write(db, 1, generation=2, execution="execution-3")
    await write(db, 2, generation=1, execution="execution-2")
    await write(db, 6)
    for generation in (0, 1, 2):
        with pytest.raises(RunReset):
            await write(db, 9, generation=generation, execution="reset")


@pytest.mark.asyncio
async def test_an_older_generation_that_never_wrote_does_not_begin_to(db: Database) -> None:
    await write(db, 1)
    await write(db, 1, generation=2, execution="execution-3")
    with pytest.raises(RunReset):
        await write(db, 2, generation=1, execution="reset", steps=[a_step(2)])
    assert await rows(db, "workflow_run_steps") == []


@pytest.mark.asyncio
async def test_a_write_sees_and_changes_its_own_tenant_only(db: Database) -> None:
    await write(db, 1, waits=[a_wait()])
    await write_run(db, a_write(1, tenant="other", waits=[a_wait()]), "execution-of-other")
    await publish(db, "event-1", tenant="other")
    await route(db)
    assert await deliveries_of(db) == {}
    assert [d["tenant"] for d in await rows(db, "workflow_event_deliveries", tenant="other")] == ["other"]
