"""The end of a last action and of its run: one transaction, and only while the run has written nothing since."""

from __future__ import annotations

from typing import Any

import pytest

from harness.run_records import EXECUTION, a_call, a_log, a_step, a_wait, a_write, an_end, rows, run_row, waits_of
from workflows_core.storage.database import Database
from workflows_core.storage.last_actions import complete_last, end_of, revoke
from workflows_core.storage.ledger import complete, start_again
from workflows_core.storage.run_writes import write_run
from workflows_core.storage.statements import RunReset
from workflows_core.wire.records import ActionCall, RunWrite

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLED = 5
"""Sequence of the write that the call carries; its end's is the next one."""


def call() -> ActionCall:
    return a_call(CALLED, write=a_write(CALLED, steps=[a_step(CALLED, path="root.steps[8]")], logs=[a_log("carried")]))


def the_end(**changes: Any) -> RunWrite:
    behind = [*call()["write"]["steps"], an_end(call()), a_step(CALLED + 1, path="root.steps[9]")]
    settled: Any = [{**step, "invocation": None} for step in behind]
    logs = [a_log("carried"), a_log("behind")]
    given = {"status": "SUCCEEDED", "waits": [], "steps": settled, "logs": logs, "result_json": {"n": 1}, **changes}
    return a_write(CALLED + 1, **given)


async def ends(db: Database) -> bool:
    return await complete_last(db, call()["write"], the_end(), an_end(call(), output="x"), "one", EXECUTION)


async def told(db: Database) -> tuple[str, int, list[str]]:
    """Status and sequence of the run, and the steps that have a row."""
    run = await run_row(db)
    return run["status"], run["sequence"], sorted(row["step_path"] for row in await rows(db, "workflow_run_steps"))


ALL = ["root.steps[0]", "root.steps[8]", "root.steps[9]"]
CARRIED = ALL[:2]


async def test_both_are_written_and_a_repeated_end_changes_nothing(db: Database) -> None:
    await write_run(db, a_write(CALLED - 1, waits=[a_wait()]), EXECUTION)
    assert await ends(db)
    assert await told(db) == ("SUCCEEDED", CALLED + 1, ALL)
    before = [await rows(db, table) for table in ("workflow_runs", "workflow_run_steps", "workflow_run_logs")]
    assert [line["message"] for line in before[2]] == ["carried", "behind"]
    assert await waits_of(db) == {"wait-1": "CANCELED"}
    (entry,) = await rows(db, "workflow_action_invocations")
    assert (entry["status"], entry["output_json"]) == ("SUCCEEDED", "x")
    assert await ends(db)
    assert [await rows(db, t) for t in ("workflow_runs", "workflow_run_steps", "workflow_run_logs")] == before


async def test_a_run_without_a_row_gets_one(db: Database) -> None:
    assert await ends(db)
    assert await told(db) == ("SUCCEEDED", CALLED + 1, ALL)


async def test_another_start_s_end_writes_nothing(db: Database) -> None:
    await start_again(db, call(), "another")
    assert not await ends(db)
    assert await rows(db, "workflow_run_steps") == []


@pytest.mark.parametrize(
    ("since", "status"),
    [
        (a_write(CALLED + 2), "RUNNING"),
        (a_write(1, generation=1), "RUNNING"),
        (a_write(CALLED + 2, status="CANCELED", waits=[]), "CANCELED"),
        (a_write(CALLED - 1, status="CANCELED", waits=[]), "CANCELED"),
    ],
    ids=["written", "continued as new", "ended", "ended by others, who know of no later write"],
)
async def test_a_run_that_has_gone_on_is_not_ended(db: Database, since: RunWrite, status: str) -> None:
    await write_run(db, a_write(CALLED - 2), EXECUTION)
    await write_run(db, since, "second" if since["generation"] else EXECUTION)
    assert not await ends(db)
    assert await told(db) == (status, since["sequence"], CARRIED)


async def test_an_action_that_was_recorded_alone_brings_no_end_later(db: Database) -> None:
    """The run was told of none, and may have gone on."""
    assert await complete(db, call(), an_end(call(), output="x"), "one", EXECUTION)
    assert not await ends(db)
    assert await told(db) == ("RUNNING", CALLED, CARRIED)


async def test_a_run_that_was_reset_is_not_ended(db: Database) -> None:
    await write_run(db, a_write(CALLED - 1), "first")
    with pytest.raises(RunReset):
        await ends(db)
    assert await told(db) == ("RUNNING", CALLED - 1, [])
    assert await rows(db, "workflow_action_invocations") == []


async def test_what_is_taken_back_cannot_end_the_run(db: Database) -> None:
    assert await revoke(db, a_write(CALLED + 2, waits=[]), EXECUTION, CALLED + 1) is None
    assert not await ends(db)
    assert (await told(db))[0] == "RUNNING"


async def test_an_end_that_was_there_before_is_found(db: Database) -> None:
    await ends(db)
    found = await revoke(db, a_write(CALLED + 2, waits=[]), EXECUTION, CALLED + 1)
    assert found is not None
    assert (found["status"], found["result_json"], found["error_json"]) == ("SUCCEEDED", {"n": 1}, None)
    assert await end_of(db, call()["write"]) == found
    assert await end_of(db, a_write(CALLED + 1)) is None
    assert (await told(db))[:2] == ("SUCCEEDED", CALLED + 1)
