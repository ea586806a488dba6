"""A run keeps the meaning of the language that it began with, whichever release goes on with it."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError

from harness.authored import TENANT, Authored, Started, authored_runtime
from harness.ingress import ingress
from harness.interpreted import document, wait
from harness.own_definitions import expr
from harness.run_records import publish
from workflows_core.execution import semantics
from workflows_core.interpreter.state import SUPPORTED_SEMANTICS
from workflows_core.storage.database import Database
from workflows_core.storage.runs import NewRun, insert_run
from workflows_core.wire.names import AUTHORED_QUEUE, RUN_WORKFLOW, workflow_id_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
MEANING = {"type": "transform.assign", "config": {"assign": {"vars.n": {"$expr": "meta.runtimeSemanticsVersion"}}}}
NEWER = max(SUPPORTED_SEMANTICS) + 1
OLD_AND_NEW = SUPPORTED_SEMANTICS | {NEWER}
ASKING = wait("PAID", "payload.id", filters=[{"path": "status", "op": "!=", "value": expr("payload.nope")}])


async def begun_by_another_release(authored: Authored, content: dict[str, Any], meaning: int = NEWER) -> Started:
    """A run whose row has this meaning, as a release that begins runs with it writes it."""
    workflow_id, version, content_hash = await authored.publish(content)
    run_id = str(uuid.uuid4())
    async with authored.db.tenant(TENANT) as conn:
        new = NewRun(run_id, workflow_id, version, content_hash, payload={"id": "k1"}, semantics_version=meaning)
        await insert_run(conn, new)
    body = {"runId": run_id, "tenantId": TENANT, "workflowId": workflow_id, "workflowVersion": version}
    handle = await authored.client.start_workflow(
        RUN_WORKFLOW, body, id=workflow_id_of(run_id), task_queue=AUTHORED_QUEUE
    )
    return Started(authored, run_id, handle)


async def test_an_older_build_that_executes_the_meaning_finishes_what_a_newer_one_began(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(semantics, "SUPPORTED_SEMANTICS", OLD_AND_NEW)
    async with authored_runtime(db, client) as newer:
        run = await begun_by_another_release(newer, document(wait("PAID", "payload.id"), MEANING))
        await run.until("WAITING")
    async with authored_runtime(db, client), ingress(db, client):
        await publish(db, "e1", "k1")
        result = await run.handle.result()
    assert result["scopes"]["vars"]["n"] == NEWER


async def test_a_build_leaves_alone_a_run_of_a_meaning_that_it_does_not_execute(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with authored_runtime(db, client) as authored:
        run = await begun_by_another_release(authored, document(MEANING))
        while not (failed := await run.failed_tasks()):
            await asyncio.sleep(0.1)
        assert f"the run has semantics {NEWER} and this build executes 1, 2:" in failed[0]
        assert (await run.timeline()).run.status == "STARTING"
        monkeypatch.setattr(semantics, "SUPPORTED_SEMANTICS", OLD_AND_NEW)
        result = await run.handle.result()
    assert result["scopes"]["vars"]["n"] == NEWER


async def test_a_run_that_began_before_filters_needed_values_goes_on_as_it_began(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        run = await begun_by_another_release(authored, document(ASKING, MEANING), meaning=1)
        await run.until("WAITING")
        await publish(db, "e1", "k1", payload={"status": "OPEN"})
        assert (await run.handle.result())["scopes"]["vars"]["n"] == 1
        begun_now = await authored.start(document(ASKING), {"id": "k2"})
        with pytest.raises(WorkflowFailureError):
            await begun_now.handle.result()
        error = (await begun_now.timeline()).run.error_json
    assert error is not None
    assert "the value of filter status has no value" in error["message"]
