"""A run keeps the meaning of the language that it began with, whichever release goes on with it."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from harness.authored import TENANT, Authored, Started, authored_runtime
from harness.ingress import ingress
from harness.interpreted import document, wait
from harness.run_records import publish
from workflows_core.execution import semantics
from workflows_core.storage.database import Database
from workflows_core.storage.runs import NewRun, insert_run
from workflows_core.wire.names import AUTHORED_QUEUE, RUN_WORKFLOW, workflow_id_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
MEANING = {"type": "transform.assign", "config": {"assign": {"vars.n": {"$expr": "meta.runtimeSemanticsVersion"}}}}
OLD_AND_NEW = frozenset({1, 2})


async def begun_by_the_newer_release(authored: Authored, content: dict[str, Any]) -> Started:
    """A run whose row says semantics 2, as a release that begins runs with 2 writes it."""
    workflow_id, version, content_hash = await authored.publish(content)
    run_id = str(uuid.uuid4())
    async with authored.db.tenant(TENANT) as conn:
        new = NewRun(run_id, workflow_id, version, content_hash, payload={"id": "k1"}, semantics_version=2)
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
        run = await begun_by_the_newer_release(newer, document(wait("PAID", "payload.id"), MEANING))
        await run.until("WAITING")
    async with authored_runtime(db, client), ingress(db, client):
        await publish(db, "e1", "k1")
        result = await run.handle.result()
    assert result["scopes"]["vars"]["n"] == 2


async def test_a_build_leaves_alone_a_run_of_a_meaning_that_it_does_not_execute(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with authored_runtime(db, client) as authored:
        run = await begun_by_the_newer_release(authored, document(MEANING))
        while not (failed := await failed_tasks(run)):
            await asyncio.sleep(0.1)
        assert "the run has semantics 2 and this build executes 1" in failed[0]
        assert (await run.timeline()).run.status == "STARTING"
        monkeypatch.setattr(semantics, "SUPPORTED_SEMANTICS", OLD_AND_NEW)
        result = await run.handle.result()
    assert result["scopes"]["vars"]["n"] == 2


async def failed_tasks(run: Started) -> list[str]:
    """What its failed workflow tasks say."""
    history = await run.handle.fetch_history()
    return [
        event.workflow_task_failed_event_attributes.failure.message
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    ]
