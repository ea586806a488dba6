"""A bare Temporal client that knows only the literals of docs/wire-contract.md (FR-8, F-1, T010)."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest

from acceptance.conftest import Stack
from harness.interpreted import document, wait
from harness.operator import publish, until_status, workflows

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_client_with_literals_only_starts_queries_and_signals_a_run(stack: Stack, tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["ok"]}
    config = {
        "taskType": "t",
        "title": {"$expr": "'T'"},
        "responseSchema": schema,
        "assign": {"ok": {"$expr": "event.ok"}},
    }
    definition = document(
        wait("PAYMENT", "'order-7'", assign={"vars.paid": {"$expr": "vars.event.amount"}}),
        {"type": "human.task", "config": config},
    )
    key = await publish(stack.environment, {**definition, "id": "bare"}, tmp_path)
    [row] = [r for r in await workflows(stack.environment, "definitions", "list") if r["key"] == key]
    run_id = str(uuid.uuid4())
    handle = await stack.client.start_workflow(
        "workflowRuntimeV2RunWorkflow",
        {
            "runId": run_id,
            "tenantId": "acme",
            "workflowId": row["workflowId"],
            "workflowVersion": 1,
            "triggerType": None,
            "executionKey": "mine",
        },
        id=f"workflow-runtime-v2:run:{run_id}",
        task_queue="workflow-runtime-v2",
    )
    while (await handle.query("workflowRuntimeV2CurrentWait")) is None:
        await asyncio.sleep(0.05)
    assert (await handle.query("workflowRuntimeV2CurrentStep"))["stepPath"] == "root.steps[0]"
    assert (await handle.query("workflowRuntimeV2InterpreterSummary"))["openWaits"] == [f"{run_id}:root.steps[0]:1"]
    await handle.signal(
        "workflowRuntimeV2Event",
        {
            "eventId": "e-1",
            "eventName": "PAYMENT",
            "correlationKey": "order-7",
            "payload": {"amount": 12},
            "receivedAt": "2026-01-01T00:00:00Z",
        },
    )
    await handle.signal("workflowRuntimeV2QuotaResume", {})
    task_id = f"{run_id}:root.steps[1]:1"
    while (await handle.query("workflowRuntimeV2InterpreterSummary"))["openWaits"] != [task_id]:
        await asyncio.sleep(0.05)
    for answer in ({"wrong": 1}, {"ok": True}):
        await handle.signal("workflowRuntimeV2HumanTask", {"taskId": task_id, "payload": answer})
    result = await handle.result()
    assert (result["scopes"]["vars"]["paid"], result["scopes"]["vars"]["ok"]) == (12, True)
    shown = await until_status(stack.environment, run_id, "SUCCEEDED")
    assert shown["waits"][0]["matchedEventId"] == "e-1"
    assert any("does not fit the task's schema" in line["message"] for line in shown["logs"])
