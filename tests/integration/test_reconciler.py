"""The reconciler on real Temporal: what an ended, lost or unfinished run leaves behind."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from temporalio.client import Client

from harness.authored import TENANT, Authored, authored_runtime
from harness.ingress import ingress
from harness.interpreted import act, document, wait
from harness.run_records import rows
from workflows_core.launching.launcher import Launcher
from workflows_core.launching.reconciler import Reconciler, ReconcilerPolicy
from workflows_core.storage.database import Database
from workflows_core.storage.runs import NewRun, insert_run
from workflows_core.wire.names import workflow_id_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


def reconciler(db: Database, client: Client, **policy: float) -> Reconciler:
    return Reconciler(db, client, Launcher(db, client), ReconcilerPolicy(**{"quiet_seconds": 0, **policy}))  # type: ignore[arg-type]


async def waiting_run(authored: Authored, *steps: dict[str, object]) -> tuple[str, object]:
    run = await authored.start(document(*steps or (wait(),)), {"id": "k1"})
    await run.until("WAITING")
    return run.run_id, run.handle


async def status_of(db: Database) -> dict[str, str]:
    return {row["run_id"]: row["status"] for row in await rows(db, "workflow_runs")}


async def test_hole_8_a_terminated_run_ends_with_everything_that_was_open(db: Database, client: Client) -> None:
    task = {"type": "human.task", "config": {"taskType": "t", "title": {"$expr": "'T'"}}}
    both = [{"steps": [{"id": "w", **wait()}]}, {"steps": [{"id": "t", **task}]}]
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document({"type": "control.parallel", "branches": both}), {"id": "k1"})
        await run.until("WAITING")
        open_one = await authored.start(document(wait()), {"id": "k2"})
        await open_one.until("WAITING")
        await run.handle.terminate("by hand")
        assert (await reconciler(db, client).one_pass()) == {"looked at": 1, "ended": 1}
        timeline = await run.timeline()
        assert (await reconciler(db, client).one_pass()) == {"looked at": 1}
    assert timeline.run.status == "FAILED"
    assert timeline.run.error_json is not None
    assert timeline.run.error_json["code"] == "RUN_ENDED_BY_TEMPORAL"
    assert {w.status for w in timeline.waits} == {"CANCELED"}
    assert {row["status"] for row in await rows(db, "workflow_tasks")} == {"canceled"}
    assert not {s.status for s in timeline.steps} & {"STARTED"}
    assert (await status_of(db))[open_one.run_id] == "WAITING"


async def test_hole_8_a_parent_hears_of_a_child_that_was_terminated(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        child, _, _ = await authored.publish(document({**wait("NEVER", "'k'")}))
        call = {"type": "control.callWorkflow", "workflowId": child, "workflowVersion": 1}
        run = await authored.start(document({**call, "onError": {"policy": "continue"}}))
        await run.until("WAITING")
        below = next(row for row in await rows(db, "workflow_runs") if row["parent_run_id"] == run.run_id)
        await client.get_workflow_handle(below["temporal_workflow_id"]).terminate("by hand")
        await reconciler(db, client).one_pass()
        result = await run.handle.result()
    assert result["scopes"]["error"]["details"]["cause"]["code"] == "RUN_ENDED_BY_TEMPORAL"


async def test_hole_8_a_run_that_temporal_does_not_know_is_of_unknown_outcome(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        workflow_id, version, content = await authored.publish(document(wait()))
        async with db.tenant(TENANT) as conn:
            await insert_run(conn, NewRun("lost", workflow_id, version, content))
            await conn.execute(text("UPDATE workflow_runs SET status = 'RUNNING' WHERE run_id = 'lost'"))
        await reconciler(db, client).one_pass()
    (row,) = await rows(db, "workflow_runs")
    assert (row["status"], row["error_json"]["category"]) == ("FAILED", "UnknownOutcome")


async def test_a_launch_that_was_cut_short_is_finished(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        workflow_id, version, content = await authored.publish(document(act("a")))
        async with db.tenant(TENANT) as conn:
            await insert_run(conn, NewRun("half", workflow_id, version, content, payload={"n": 1}))
        assert (await reconciler(db, client).one_pass()) == {"launched": 1}
        await client.get_workflow_handle(workflow_id_of("half")).result()
    assert await status_of(db) == {"half": "SUCCEEDED"}


async def test_a_launch_that_temporal_has_and_the_row_does_not_tell_is_finished(db: Database, client: Client) -> None:
    """It stayed STARTING until the run wrote something, and its checkpoint stayed for good."""
    async with authored_runtime(db, client) as authored:
        run_id, _ = await waiting_run(authored)
        async with db.tenant(TENANT) as conn:
            await conn.execute(
                text("UPDATE workflow_runs SET status = 'STARTING', launch_json = '{}', temporal_run_id = NULL")
            )
        assert (await reconciler(db, client).one_pass()) == {"launched": 1}
        (row,) = await rows(db, "workflow_runs")
        described = await client.get_workflow_handle(workflow_id_of(run_id)).describe()
    assert (row["status"], row["launch_json"], row["temporal_run_id"]) == ("RUNNING", None, described.run_id)


async def test_passes_go_round_and_leave_alone_what_was_just_written(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        for _ in range(3):
            await waiting_run(authored)
        two = reconciler(db, client, batch_size=2)
        assert [sum((await two.one_pass()).values()) for _ in range(4)] == [2, 1, 2, 1]
        assert await reconciler(db, client, quiet_seconds=60).one_pass() == {}
