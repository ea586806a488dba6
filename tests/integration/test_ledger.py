"""The ledger of action calls (docs/adr/0004): who may run a handler, and whose end counts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness.databases import MigratedDatabase
from harness.holding import holding
from harness.run_records import EXECUTION, TENANT, a_call, a_log, a_step, a_write, an_end, rows
from workflows_core.storage.database import Database
from workflows_core.storage.key_values import PostgresKeyValueStore
from workflows_core.storage.ledger import announce, complete, complete_in, completing, release, start_again
from workflows_core.storage.run_writes import write_run
from workflows_core.storage.statements import RunReset
from workflows_core.wire.records import ActionCall, WaitRecord

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


async def test_a_start_that_has_ended_has_no_other_end(db: Database) -> None:
    call = a_call()
    await end(db, call, "one", output={"n": 1})
    before = await ledger(db)
    assert not await end(db, call, "one", status="FAILED")
    assert await ledger(db) == before
    (step,) = await rows(db, "workflow_run_steps")
    assert step["status"] == "SUCCEEDED"


async def test_a_call_that_succeeded_is_answered_and_left_alone(db: Database) -> None:
    call = a_call()
    await end(db, call, "one", output={"n": 1})
    entry = await start_again(db, a_call(2), "two")
    assert (entry.taken, entry.status, entry.output) == (False, "SUCCEEDED", {"n": 1})
    assert (await ledger(db))["owner_token"] == "one"


async def test_the_record_of_a_short_action_changes_no_row_that_a_start_owns(db: Database) -> None:
    call = a_call()
    await start_again(db, call, "one")
    short = an_end(call, "FAILED", None)
    await write_run(db, a_write(1, steps=[short]), EXECUTION)
    assert ((await ledger(db))["status"], (await ledger(db))["owner_token"]) == ("STARTED", "one")
    assert await end(db, call, "one", output={"n": 1})
    assert (await ledger(db))["status"] == "SUCCEEDED"


@pytest.mark.parametrize("before", ["FAILED", "STARTED"])
async def test_a_retry_that_is_a_short_call_takes_the_row_of_an_attempt_that_was_a_regular_one(
    db: Database, before: str
) -> None:
    """A short action is called as a regular one under a flood of signals: its row went on to say that it had failed."""
    await start_again(db, a_call(), "one")
    if before == "FAILED":
        assert await end(db, a_call(), "one", status="FAILED")
    output = {"large": "x" * 3000}
    await write_run(db, a_write(2, steps=[an_end(a_call(2, attempt=2), "SUCCEEDED", output)]), EXECUTION)
    row = await ledger(db)
    assert (row["status"], row["attempt"], row["output_json"], row["error_json"]) == ("SUCCEEDED", 2, output, None)
    assert not await end(db, a_call(), "one", output="late")
    assert (await ledger(db))["output_json"] == output


async def test_a_short_call_of_another_run_under_the_same_key_takes_no_row_that_a_start_owns(db: Database) -> None:
    await start_again(db, a_call(), "one")
    other = an_end(a_call(2, attempt=2), "SUCCEEDED", 2)
    other["step_path"] = "root.steps[7]"
    await write_run(db, a_write(2, steps=[other]), EXECUTION)
    assert ((await ledger(db))["status"], (await ledger(db))["owner_token"]) == ("STARTED", "one")


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


async def test_a_handler_that_is_seen_as_its_run_ends_leaves_no_step_that_goes_on(
    db: Database, database: MigratedDatabase
) -> None:
    """The run's end had not seen its step, which was shown as one that is under way for ever."""
    call = a_call()
    await write_run(db, a_write(1), EXECUTION)
    async with holding(database, "LOCK TABLE workflow_run_steps IN EXCLUSIVE MODE") as held:
        ending = asyncio.create_task(write_run(db, a_write(2, status="CANCELED"), EXECUTION))
        # At its steps, which it closes: its row says already how it ended, and nobody else sees that.
        await held.waiting(1)
        announcing = asyncio.create_task(announce(db, call, "one"))
        await held.waiting(2)
    await asyncio.gather(ending, announcing)
    assert [row["status"] for row in await rows(db, "workflow_runs")] == ["CANCELED"]
    assert await rows(db, "workflow_run_steps") == []


async def test_one_statement_and_the_whole_write_leave_the_same_rows(db: Database) -> None:
    """A write that names the waits, even none, goes the way of every other write."""
    invocation = an_end(a_call(action_id="mail.check"), "FAILED")["invocation"]
    carried = [
        a_step(3, path="root.steps[8]", step_type="control.if"),
        a_step(3, "STARTED", path="root.steps[7]", invocation=invocation),
        a_step(2, "STARTED", path="root.steps[8]", step_type="control.if"),
    ]
    failed = {"category": "ActionError", "message": "no"}
    # What ends, the answer, and status, place and fence of the run then.
    ends: list[tuple[dict[str, Any], bool | str, tuple[str, int, int, int]]] = [
        ({"sequence": 2}, True, ("RUNNING", 0, 0, 2)),
        ({"sequence": 3, "place": 1, "steps": carried}, True, ("RUNNING", 1, 0, 3)),
        ({"sequence": 3, "place": 1, "steps": carried}, True, ("RUNNING", 1, 0, 3)),
        ({"sequence": 1, "place": 2, "steps": [a_step(1, "FAILED", path="root.steps[8]")]}, True, ("RUNNING", 1, 0, 3)),
        ({"sequence": 4, "place": 1, "owner": "another", "outcome": "FAILED"}, False, ("RUNNING", 1, 0, 3)),
        ({"sequence": 4, "place": 3, "status": "WAITING", "waiting_for": {"n": 1}}, True, ("WAITING", 3, 0, 4)),
        ({"sequence": 5, "place": 4, "status": None, "outcome": "FAILED"}, True, ("WAITING", 4, 0, 5)),
        ({"sequence": 6, "place": 5, "starts": ("lost", "next"), "owner": "lost"}, False, ("WAITING", 4, 0, 5)),
        ({"sequence": 6, "place": 5, "owner": "next", "logs": [a_log("one")]}, True, ("RUNNING", 5, 0, 6)),
        ({"sequence": 7, "place": 6, "execution": "reset"}, "RUN_RESET", ("RUNNING", 5, 0, 6)),
        ({"sequence": 1, "generation": 1, "place": 6, "execution": "second"}, True, ("RUNNING", 6, 1, 1)),
        ({"sequence": 2, "generation": 1, "place": 9, "execution": "second"}, True, ("RUNNING", 9, 1, 2)),
        ({"sequence": 8, "place": 10}, True, ("RUNNING", 9, 1, 2)),
        ({"sequence": 3, "generation": 1, "place": 11, "execution": EXECUTION}, "RUN_RESET", ("RUNNING", 9, 1, 2)),
        (
            {
                "sequence": 4,
                "generation": 1,
                "place": 11,
                "execution": "second",
                "status": "FAILED",
                "error_json": failed,
            },
            True,
            ("FAILED", 11, 1, 4),
        ),
        ({"sequence": 5, "generation": 1, "place": 12, "execution": "second"}, True, ("FAILED", 11, 1, 4)),
    ]
    for what, answer, then in ends:
        assert await end_in(db, "one", None, **what) == answer, what
        assert await end_in(db, "whole", [], **what) == answer, what
        one, whole = await left_by(db, "one"), await left_by(db, "whole")
        assert one == whole, what
        (run,) = one["workflow_runs"]
        status, place, generation, sequence = then
        assert (run["status"], run["node_path"]) == (status, f"root.steps[{place}]"), what
        assert (run["generation"], run["sequence"]) == (generation, sequence), what
    left = await left_by(db, "one")
    steps = {row["step_path"]: row["status"] for row in left["workflow_run_steps"]}
    assert (steps["root.steps[7]"], steps["root.steps[8]"]) == ("CANCELED", "SUCCEEDED")
    assert "root.steps[6]" in steps
    # All but that of the control step have one.
    assert len(left["workflow_action_invocations"]) == len(steps) - 1


async def end_in(
    db: Database,
    run: str,
    waits: list[WaitRecord] | None,
    *,
    sequence: int,
    generation: int = 0,
    place: int = 0,
    starts: tuple[str, ...] = (),
    owner: str = "first",
    execution: str = EXECUTION,
    outcome: str = "SUCCEEDED",
    **content: Any,
) -> bool | str:
    """Ends the call at a place of a run; the code where that is refused."""
    path = f"root.steps[{place}]"
    fence = {"generation": generation, "run_id": run, "node_path": path}
    write = a_write(sequence, **{**fence, "waits": waits, **content})
    for carried in write["steps"]:
        if carried["invocation"] is not None:
            carried["invocation"]["idempotency_key"] = f"{run}:{carried['step_path']}"
    call = a_call(idempotency_key=f"{run}:{path}", step_path=path, write=write)
    for start in starts:
        await start_again(db, call, start)
    step = an_end(call, outcome, sequence)
    step["generation"] = generation
    try:
        return await complete(db, call, step, owner, execution)
    except RunReset as error:
        return error.code


async def left_by(db: Database, run: str) -> dict[str, list[dict[str, Any]]]:
    """What a run has in the database, without what no two runs have in common."""
    own = {"run_id", "root_run_id", "temporal_workflow_id", "idempotency_key", "invocation_id", "waits_sequence"}
    times = {"created_at", "started_at", "updated_at", "completed_at", "duration_ms"}
    left: dict[str, list[dict[str, Any]]] = {}
    for table in ("workflow_runs", "workflow_run_steps", "workflow_action_invocations", "workflow_run_logs"):
        found = [row for row in await rows(db, table) if row["run_id"] == run]
        found.sort(key=lambda row: str(row.get("step_path")))
        left[table] = [
            {
                name: value is not None if name in times else value
                for name, value in row.items()
                if name not in {*own, "log_id", "waits_generation"}
            }
            for row in found
        ]
    return left


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
