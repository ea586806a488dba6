"""What `workflows` says first of a run that stands still: what it waits for, and whether anybody executes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from harness.authored import authored_runtime
from harness.ingress import ingress
from harness.interpreted import document, wait
from harness.operator import command, publish, start, workflows
from harness.run_records import rows
from workflows_core.storage.database import Database
from workflows_core.storage.processes import Announcement, announce, leave
from workflows_core.wire.names import AUTHORED_QUEUE

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

NOBODY = "no workflow-worker lives: the run stands still until one is started (`workflows ownership`)"


async def shown(environment: Mapping[str, str], *arguments: str) -> list[str]:
    """The lines of a command that must succeed."""
    code, output, error = await command(environment, *arguments)
    assert code == 0, output + error
    return output.splitlines()


def expr(source: str) -> dict[str, str]:
    return {"$expr": source}


async def test_each_thing_that_a_run_waits_for_is_told_with_what_to_look_at(
    environment: dict[str, str], db: Database, client: Client
) -> None:
    retry = {"maxAttempts": 3, "backoffMs": 86_400_000}
    failing = {"actionId": "test.act", "version": 1, "inputMapping": {"name": "later"}}
    async with authored_runtime(db, client) as authored, ingress(db, client):
        authored.effects.failures["later"] = ["TransientError"]
        child, _, _ = await authored.publish(document(wait("PAID", "'k'")))
        steps: list[dict[str, Any]] = [
            {"id": "ask", "type": "human.task", "config": {"taskType": "approval", "title": expr("'Approve'")}},
            {"id": "call", "type": "control.callWorkflow", "workflowId": child, "workflowVersion": 1},
            {"id": "act", "type": "action.call", "retry": retry, "config": failing},
            {"id": "sleep", "type": "time.wait", "config": {"mode": "duration", "durationMs": 86_400_000}},
        ]
        branches = [{"name": str(step["id"]), "steps": [step]} for step in steps]
        run = await authored.start(document({"id": "all", "type": "control.parallel", "branches": branches}))
        waits: list[str] = []
        while len(waits) < len(steps):
            lines = await shown(environment, "runs", "show", run.run_id)
            waits = [line for line in lines if line.startswith("waits at ")]
        (task,) = await rows(db, "workflow_tasks")
        (called,) = [row for row in await rows(db, "workflow_runs") if row["parent_run_id"] is not None]
    told = {line.split(" for ")[0].split(".branches")[1]: line.partition(" for ")[2] for line in waits}
    assert told["[0].steps[0]"].startswith(f"the answer to task {task['task_id']} (`workflows tasks show`) since ")
    assert told["[1].steps[0]"].startswith(f"the end of run {called['run_id']} (`workflows runs show`) since ")
    assert told["[2].steps[0]"].startswith("its next attempt until ")
    assert told["[3].steps[0]"].startswith("time since ")


async def test_a_run_that_nobody_executes_is_told_so(environment: dict[str, str], db: Database, tmp_path: Path) -> None:
    key = await publish(environment, {**document(wait()), "id": "orders"}, tmp_path)
    run_id = await start(environment, key, {"id": "k1"})
    show = ("runs", "show", run_id)
    assert (await workflows(environment, *show))["polled"] is None, "no process has ever written a heartbeat"
    worker = Announcement("workflow-worker@h:1", "workflow-worker", "1", (AUTHORED_QUEUE,))
    async with db.narrow() as conn:
        await announce(conn, worker)
    assert (await workflows(environment, *show))["polled"] is True
    assert NOBODY not in await shown(environment, *show)
    async with db.narrow() as conn:
        await leave(conn, worker.identity)
    # Without Temporal as well: it may be what is away.
    alone = {**environment, "TEMPORAL_ADDRESS": "127.0.0.1:1"}
    assert (await workflows(alone, *show))["polled"] is False
    lines = await shown(alone, *show)
    assert lines[0] == f"run {run_id}  RUNNING  orders version 1"
    assert lines[2] == NOBODY


async def test_an_ended_run_needs_nobody(environment: dict[str, str], db: Database, client: Client) -> None:
    worker = Announcement("workflow-worker@h:1", "workflow-worker", "1", (AUTHORED_QUEUE,))
    async with db.narrow() as conn:
        await announce(conn, worker)
        await leave(conn, worker.identity)
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document())
        await run.until("SUCCEEDED")
    assert (await workflows(environment, "runs", "show", run.run_id))["polled"] is None
    assert NOBODY not in await shown(environment, "runs", "show", run.run_id)


async def test_runs_are_listed_with_the_key_of_their_workflow(environment: dict[str, str], tmp_path: Path) -> None:
    key = await publish(environment, {**document(wait()), "id": "orders"}, tmp_path)
    run_id = await start(environment, key, {"id": "k1"})
    (listed,) = await workflows(environment, "runs", "list")
    assert (listed["runId"], listed["workflowKey"]) == (run_id, "orders")
    header, row = await shown(environment, "runs", "list")
    assert header.split()[:2] == ["RUNID", "WORKFLOW"]
    assert row.split()[:2] == [run_id, "orders"]
    assert (await workflows(environment, "runs", "show", run_id))["workflowKey"] == "orders"


async def test_filters_of_a_wait_are_shown_as_they_are_written(
    environment: dict[str, str], db: Database, client: Client
) -> None:
    filters = [{"path": "amount", "op": ">=", "value": 10}, {"path": "note", "op": "exists"}]
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(wait("PAID", "'k'", filters=filters)))
        (opened,) = (await run.until("WAITING")).waits
    lines = await shown(environment, "waits", "show", opened.wait_id)
    (line,) = [line for line in lines if line.startswith("filters ")]
    found = json.loads(f"[{line.removeprefix('filters ')}]")
    assert [(one["path"], one["op"]) for one in found] == [("amount", ">="), ("note", "exists")]
