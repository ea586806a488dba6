"""The ledger of action calls (docs/adr/0004): who may run a handler, and whose end counts."""

from __future__ import annotations

from typing import Any

import pytest

from harness.run_records import EXECUTION, TENANT, a_call, a_step, an_end, rows
from workflows_core.storage.database import Database
from workflows_core.storage.key_values import PostgresKeyValueStore
from workflows_core.storage.ledger import announce, complete, complete_in, completing, release, start_again
from workflows_core.wire.records import ActionCall

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def ledger(db: Database) -> dict[str, Any]:
    (row,) = await rows(db, "workflow_action_invocations")
    return row


async def end(db: Database, call: ActionCall, token: str, status: str = "SUCCEEDED", output: Any = None) -> bool:
    return await complete(db, call, an_end(call, status, output), token, EXECUTION)


async def test_a_first_end_needs_no_start(db: Database) -> None:
    call = a_call()
    assert await end(db, call, "one", output={"n": 1})
    row = await ledger(db)
    assert (row["status"], row["attempt"], row["starts"], row["output_json"]) == ("SUCCEEDED", 1, 1, {"n": 1})
    (step,) = await rows(db, "workflow_run_steps")
    assert (step["status"], step["output_json"]) == ("SUCCEEDED", {"n": 1})


async def test_a_repeated_end_changes_nothing(db: Database) -> None:
    call = a_call()
    await end(db, call, "one", output={"n": 1})
    before = await ledger(db)
    assert await end(db, call, "one", output={"n": 1})
    assert await ledger(db) == before


async def test_a_call_that_succeeded_is_answered_and_left_alone(db: Database) -> None:
    call = a_call()
    await end(db, call, "one", output={"n": 1})
    entry = await start_again(db, a_call(2), "two")
    assert (entry.taken, entry.status, entry.output) == (False, "SUCCEEDED", {"n": 1})
    assert (await ledger(db))["owner_token"] == "one"


async def test_hole_3_a_retry_takes_a_failed_call_over(db: Database) -> None:
    await end(db, a_call(), "one", status="FAILED")
    entry = await start_again(db, a_call(2, attempt=2), "two")
    assert (entry.taken, entry.status) == (True, "FAILED")
    assert await end(db, a_call(2, attempt=2), "two", output={"n": 2})
    row = await ledger(db)
    assert (row["status"], row["attempt"], row["starts"]) == ("SUCCEEDED", 2, 2)


async def test_a_failure_of_this_very_attempt_is_answered_again(db: Database) -> None:
    await end(db, a_call(), "one", status="FAILED")
    entry = await start_again(db, a_call(), "two")
    assert (entry.taken, entry.status) == (False, "FAILED")
    assert entry.error is not None


async def test_an_attempt_that_lives_on_after_it_lost_its_row_writes_nothing(db: Database) -> None:
    await start_again(db, a_call(), "zombie")
    assert (await start_again(db, a_call(), "successor")).status == "STARTED"
    assert not await end(db, a_call(), "zombie", output="late")
    assert await rows(db, "workflow_run_steps") == []
    assert await end(db, a_call(), "successor", output="right")
    assert not await end(db, a_call(), "zombie", output="later")
    assert (await ledger(db))["output_json"] == "right"


async def test_what_travels_along_is_written_or_not_with_the_end(db: Database) -> None:
    carried = a_step(1, path="root.steps[9]")
    call = a_call()
    call["write"]["steps"] = [carried]
    await start_again(db, call, "owner")
    assert not await end(db, call, "other")
    assert await rows(db, "workflow_run_steps") == []
    assert await end(db, call, "owner")
    assert {row["step_path"] for row in await rows(db, "workflow_run_steps")} == {"root.steps[0]", "root.steps[9]"}


async def test_a_slow_handler_is_seen_and_a_finished_one_is_not_taken_back(db: Database) -> None:
    await announce(db, a_call(), "one")
    assert (await ledger(db))["status"] == "STARTED"
    (step,) = await rows(db, "workflow_run_steps")
    assert step["status"] == "STARTED"
    assert await end(db, a_call(), "one", output=1)
    await announce(db, a_call(), "one")
    assert (await ledger(db))["status"] == "SUCCEEDED"
    (step,) = await rows(db, "workflow_run_steps")
    assert step["status"] == "SUCCEEDED"


async def test_one_statement_and_the_whole_write_leave_the_same_rows(db: Database) -> None:
    await end(db, a_call(idempotency_key="fast", step_path="root.steps[0]"), "t", output=1)
    slow = a_call(2, idempotency_key="slow", step_path="root.steps[1]")
    slow["write"]["waits"] = []
    await end(db, slow, "t", output=1)
    differ = {"invocation_id", "idempotency_key", "step_path", "created_at", "sequence", "started_at", "completed_at"}
    for table in ("workflow_action_invocations", "workflow_run_steps"):
        one, two = (
            {name: value for name, value in row.items() if name not in {*differ, "output_json"}}
            for row in await rows(db, table, order="step_path")
        )
        assert one == two


async def test_an_effect_in_the_same_database_is_there_with_its_record_or_not_at_all(db: Database) -> None:
    call = a_call()

    async def crash_before_the_record() -> None:
        async with completing(db, call, "one") as (conn, entry):
            assert entry.taken
            await PostgresKeyValueStore(conn, TENANT, "run-1").increment("n", "k", 1)
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        await crash_before_the_record()
    assert await rows(db, "workflow_data_store") == []
    assert await rows(db, "workflow_action_invocations") == []
    async with completing(db, call, "two") as (conn, _):
        await PostgresKeyValueStore(conn, TENANT, "run-1").increment("n", "k", 1)
        assert await complete_in(conn, call, an_end(call, output=1), "two", EXECUTION)
    async with completing(db, call, "three") as (_, entry):
        assert (entry.taken, entry.output) == (False, 1)
    (row,) = await rows(db, "workflow_data_store")
    assert row["value"] == 1


async def test_three_lost_starts_make_a_suspect_and_only_what_is_lost_alone_is_its_crash(db: Database) -> None:
    call = a_call()
    assert (await start_again(db, call, "2", lost=1)).taken
    assert not (await start_again(db, call, "3")).suspect
    suspect = await start_again(db, call, "4")
    assert (suspect.taken, suspect.suspect, suspect.crashes) == (False, True, 0)
    # Waiting for its turn counts nothing.
    assert (await start_again(db, call, "5")).crashes == 0
    for crashes in range(3):
        assert (await start_again(db, call, f"alone-{crashes}", alone=True)).taken
        found = await start_again(db, call, f"look-{crashes}")
        assert (found.taken, found.suspect, found.crashes) == (False, True, crashes + 1)
    assert (await start_again(db, call, "last", alone=True)).taken
    assert await end(db, call, "last")


async def test_a_start_that_was_released_is_not_lost(db: Database) -> None:
    call = a_call()
    for token in "abcdef":
        entry = await start_again(db, call, token)
        assert (entry.taken, entry.suspect) == (True, False)
        await release(db, call, token)
    await start_again(db, call, "g")
    await release(db, call, "not the owner")
    assert (await ledger(db))["owner_token"] == "g"


async def test_an_authored_attempt_begins_without_suspicion(db: Database) -> None:
    await start_again(db, a_call(), "1", lost=1)
    await start_again(db, a_call(), "2")
    assert await end(db, a_call(), "2", status="FAILED")
    retried = a_call(2, attempt=2)
    assert (await start_again(db, retried, "3")).taken
    assert not (await start_again(db, retried, "4")).suspect
