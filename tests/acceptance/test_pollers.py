"""Who polls, by Temporal's own word (G-1, G-2, FR-1, FR-2, FR-9, AC-1, AC-2, AC-6)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

from acceptance.conftest import Stack
from harness.operator import workflows

pytestmark = pytest.mark.asyncio(loop_scope="session")
DOMAIN_QUEUES = (
    "tenant-workflows",
    "portal-domain-workflows",
    "email-domain-workflows",
    "alga-jobs",
    "sla-workflows",
)
OWNER = {"workflow-runtime-v2": "workflow-worker", **dict.fromkeys(DOMAIN_QUEUES, "temporal-worker")}


@pytest.mark.parametrize("queue", OWNER)
async def test_only_the_owner_polls_its_queue(stack: Stack, queue: str) -> None:
    for kind in (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY):
        answer = await stack.client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=stack.client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
            )
        )
        assert {poller.identity.partition("@")[0] for poller in answer.pollers} == {OWNER[queue]}


@pytest.mark.parametrize("queue", OWNER)
async def test_the_endpoint_of_the_web_ui_shows_the_owner(stack: Stack, queue: str) -> None:
    url = f"{stack.temporal.ui_address}/api/v1/namespaces/{stack.client.namespace}/task-queues/{queue}"
    async with httpx.AsyncClient(trust_env=False) as http:
        shown: dict[str, Any] = (await http.get(url)).json()
    assert {poller["identity"].partition("@")[0] for poller in shown["pollers"]} == {OWNER[queue]}


async def test_ownership_agrees(stack: Stack) -> None:
    rows = {(row["queue"], row["kind"]): row for row in await workflows(stack.environment, "ownership")}
    for queue, owner in OWNER.items():
        for kind in ("workflow", "activity"):
            row = rows[queue, kind]
            assert (row["owner"], row["verdict"], row["backlog"], row["backlogAgeSeconds"]) == (owner, "ok", 0, 0)
            assert row["lastSeenSeconds"] < 90
    assert [key for key in rows if key[0] == "workflow-app-actions"] == [("workflow-app-actions", "activity")]
    assert rows["workflow-app-actions", "activity"]["verdict"] == "no poller"
    assert rows["workflow-runtime-v2", "workflow"]["knownFrom"].startswith("heartbeats of 1, ")
    assert "300 s" in rows["alga-jobs", "activity"]["knownFrom"]


async def test_the_start_says_what_is_polled_and_what_is_not(stack: Stack) -> None:
    [started] = stack.workflow_worker.events("process_started")
    assert started["queues_owned"] == ["workflow-runtime-v2"]
    assert "polls workflow-runtime-v2" in started["message"]
    refused = [e for e in stack.temporal_worker.events("queue_not_owned_here") if e["queue"] == "workflow-runtime-v2"]
    assert [e["owner"] for e in refused] == ["workflow-worker"]
