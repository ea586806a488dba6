"""`control.callWorkflow` on Temporal: launched, waited for by an ordinary event, cancelled with its parent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import Client

from harness.authored import TENANT, Authored, Started, authored_runtime
from harness.ingress import ingress
from harness.interpreted import document, wait
from harness.run_records import rows
from workflows_core.execution.child_runs import MAX_DEPTH
from workflows_core.storage.database import Database
from workflows_core.wire.names import workflow_id_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


def act(name: str, **fields: Any) -> dict[str, Any]:
    config = {"actionId": "test.act", "version": 1, "inputMapping": {"name": name}, "saveAs": name}
    return {"id": name, "type": "action.call", "config": config, **fields}


def call(workflow_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": "control.callWorkflow", "workflowId": workflow_id, "workflowVersion": 1, **fields}


def expr(source: str) -> dict[str, str]:
    return {"$expr": source}


async def children(authored: Authored) -> list[dict[str, Any]]:
    found = await rows(authored.db, "workflow_runs", order="started_at")
    return [row for row in found if row["parent_run_id"] is not None]


async def test_a_child_gets_its_input_and_gives_its_outputs(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        child, _, _ = await authored.publish(
            document(act("work"), {"type": "control.return", "value": expr("payload.n + 1")})
        )
        run = await authored.start(
            document(
                call(
                    child,
                    inputMapping={"n": expr("payload.n")},
                    outputMapping={"given": expr("childRun.result"), "seen": expr("childRun.payload.n")},
                )
            ),
            {"n": 4},
        )
        result = await run.handle.result()
        (row,) = await children(authored)
        described = await client.get_workflow_handle(workflow_id_of(row["run_id"])).describe()
    assert (result["scopes"]["vars"]["given"], result["scopes"]["vars"]["seen"]) == (5, 4)
    assert (row["status"], row["parent_run_id"], row["root_run_id"]) == ("SUCCEEDED", run.run_id, run.run_id)
    assert row["temporal_run_id"] is not None
    found = {pair.key.name: pair.value for pair in described.typed_search_attributes}
    assert found["WorkflowParentRun"] == run.run_id
    timeline = await run.timeline()
    assert [(w.event_name, w.status) for w in timeline.waits] == [("WORKFLOW_RUN_ENDED", "RESOLVED")]
    assert next(s for s in timeline.steps).output_json == {"childRunId": row["run_id"]}


async def test_hole_20_every_attempt_is_a_child_of_its_own_and_on_error_holds(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        authored.effects.failures["bad"] = ["ActionError"] * 2
        child, _, _ = await authored.publish(document(act("bad")))
        step = call(child, retry={"maxAttempts": 2, "backoffMs": 1}, onError={"policy": "continue"})
        run = await authored.start(document(step, act("after")))
        result = await run.handle.result()
        found = await children(authored)
    assert [row["status"] for row in found] == ["FAILED", "FAILED"]
    error = result["scopes"]["error"]
    assert (error["category"], error["code"]) == ("ChildWorkflowError", "CHILD_RUN_FAILED")
    assert error["details"]["cause"]["category"] == "ActionError"
    assert error["details"]["childRunId"] == found[1]["run_id"]
    assert authored.effects.count("after") == 1


async def test_hole_20_a_child_that_may_not_start_fails_its_step_by_name(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(call("nowhere", onError={"policy": "continue"})))
        result = await run.handle.result()
    error = result["scopes"]["error"]
    assert (error["category"], error["code"]) == ("ChildWorkflowError", "WORKFLOW_UNKNOWN")


async def test_hole_20_a_workflow_that_calls_itself_ends(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        key = "calls-itself"
        await authored.publish(document(call(key)), key=key)
        run = await authored.start(document(call(key, onError={"policy": "continue"})))
        await run.handle.result()
        found = await children(authored)
    assert len(found) == MAX_DEPTH - 1
    assert {row["status"] for row in found} == {"FAILED"}
    deepest = found[-1]
    assert deepest["error_json"]["code"] == "CHILD_TOO_DEEP"
    assert {row["root_run_id"] for row in found} == {run.run_id}


async def test_hole_7_a_cancel_goes_down_to_the_children(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        child, _, _ = await authored.publish(document(wait()))
        run = await authored.start(document(call(child, inputMapping={"id": expr("payload.id")})), {"id": "k1"})
        await run.until("WAITING")
        (row,) = await children(authored)
        await Started(authored, row["run_id"], client.get_workflow_handle(workflow_id_of(row["run_id"]))).until(
            "WAITING"
        )
        await run.handle.cancel()
        await asyncio.gather(run.handle.result(), return_exceptions=True)
        below = Started(authored, row["run_id"], client.get_workflow_handle(workflow_id_of(row["run_id"])))
        await below.until("CANCELED")
    lines = [line.message for line in (await below.timeline()).logs]
    assert any(run.run_id in line and "does not need it any more" in line for line in lines)
    assert (await rows(db, "workflow_runs", tenant=TENANT))[0]["tenant"] == TENANT
