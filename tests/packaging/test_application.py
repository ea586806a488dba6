"""Installed workflow-worker and workflow-server: who executes what, started through the HTTP API."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from temporalio.client import Client

from harness.databases import DatabaseFactory
from harness.installed import Installed
from harness.operator import publish, workflows
from harness.service_process import ServiceProcess, running
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.wire.names import workflow_id_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCHEMA = {"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}}, "required": ["mood"]}
DEFINITION = {
    "id": "with-ai",
    "version": 1,
    "name": "With AI",
    "payloadSchemaRef": "payload.Who.v1",
    "steps": [
        {
            "id": "before",
            "type": "action.call",
            "config": {
                "actionId": "store.set",
                "version": 1,
                "inputMapping": {"namespace": "n", "key": "k", "value": 1},
            },
        },
        {
            "id": "ask",
            "type": "action.call",
            "config": {
                "actionId": "ai.infer",
                "version": 1,
                "inputMapping": {"prompt": {"$expr": "'How is ' & payload.who & '?'"}},
                "aiOutputSchemaMode": "simple",
                "aiOutputSchema": SCHEMA,
                "saveAs": "vars.answer",
            },
        },
    ],
}


@dataclass(frozen=True)
class Application:
    """An installation without temporal-worker."""

    environment: dict[str, str]
    worker: ServiceProcess
    server: ServiceProcess
    api: httpx.AsyncClient


@pytest_asyncio.fixture(loop_scope="session")
async def application(
    installed: Callable[[str], Installed], temporal: EmbeddedTemporal, databases: DatabaseFactory, tmp_path: Path
) -> AsyncIterator[Application]:
    """Both processes from their wheels, each in an environment of its own, ready; and an operator's token."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = int(reserved.getsockname()[1])
    scripts = {name: installed(name).directory / "bin" for name in ("workflow-worker", "workflow-server")}
    async with AsyncExitStack() as held:
        database = held.enter_context(databases.fresh())
        environment = {
            **database.environment,
            "TEMPORAL_ADDRESS": temporal.address,
            "TEMPORAL_NAMESPACE": temporal.namespace,
            "WORKFLOWS_TENANT": "acme",
            "WORKFLOW_SERVER_PORT": str(port),
            "WORKFLOW_AI_PROVIDER": "local",
            "WORKFLOW_ACTION_UNAVAILABLE_AFTER_MS": "2000",
        }
        worker = await held.enter_async_context(
            running("workflow-worker", environment, tmp_path, scripts=scripts["workflow-worker"])
        )
        server = await held.enter_async_context(
            running("workflow-server", environment, tmp_path, scripts=scripts["workflow-server"])
        )
        await asyncio.gather(worker.ready(), server.ready())
        token = (await workflows(environment, "tokens", "create", "--name", "test", "--role", "operator"))["token"]
        api = await held.enter_async_context(
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", trust_env=False, headers={"authorization": f"Bearer {token}"}
            )
        )
        yield Application(environment, worker, server, api)
        if server.process.returncode is None:
            assert await server.terminate() == 0
        assert await worker.terminate() == 0


async def ended_run(application: Application, run_id: str) -> dict[str, Any]:
    while True:
        shown: dict[str, Any] = await workflows(application.environment, "runs", "show", run_id)
        if shown["run"]["status"] in ("SUCCEEDED", "FAILED"):
            return shown
        await asyncio.sleep(0.2)


async def test_only_the_ai_step_of_a_run_is_the_server_s(
    application: Application, client: Client, tmp_path: Path
) -> None:
    key = await publish(application.environment, DEFINITION, tmp_path)
    started = await application.api.post("/v1/runs", json={"workflow": key, "payload": {"who": "Ada"}})
    assert started.status_code == 201, started.text
    run_id = started.json()["runId"]
    shown = await ended_run(application, run_id)
    assert shown["run"]["status"] == "SUCCEEDED", shown
    assert shown["run"]["resultJson"]["scopes"]["vars"]["answer"]["mood"] in ("good", "bad")
    history = await client.get_workflow_handle(workflow_id_of(run_id)).fetch_history()
    queues = {
        event.event_id: event.activity_task_scheduled_event_attributes.task_queue.name
        for event in history.events
        if event.activity_task_scheduled_event_attributes.activity_type.name
    }
    begun = [event.activity_task_started_event_attributes for event in history.events]
    executed = [
        (queues[one.scheduled_event_id], one.identity.partition("@")[0]) for one in begun if one.scheduled_event_id
    ]
    assert [who for queue, who in executed if queue == "workflow-app-actions"] == ["workflow-server"]
    assert {who for queue, who in executed if queue == "workflow-runtime-v2"} == {"workflow-worker"}
    (usage,) = application.server.events("ai_usage")
    assert (usage["tenant"], usage["run_id"], usage["model"]) == ("acme", run_id, "local")
    _, metrics = await _text(application.server, "/metrics")
    assert 'workflow_ai_tokens_total{kind="completion",model="local",tenant="acme"}' in metrics


async def test_without_the_server_the_step_fails_and_says_what_is_missing(
    application: Application, tmp_path: Path
) -> None:
    key = await publish(application.environment, DEFINITION, tmp_path)
    assert (await application.api.get("/v1/runs")).status_code == 200
    assert await application.server.terminate() == 0
    started = await workflows(application.environment, "runs", "start", key, "--payload", '{"who": "Ada"}')
    shown = await ended_run(application, started["runId"])
    error = shown["run"]["errorJson"]
    assert (error["category"], error["code"], error["nodePath"]) == (
        "ActionUnavailable",
        "ACTION_UNAVAILABLE",
        "root.steps[1]",
    )
    assert (error["details"]["action"], error["details"]["version"], error["details"]["place"]) == (
        "ai.infer",
        1,
        "app",
    )
    assert error["details"]["lastServedBy"].startswith("workflow-server@")
    assert "start workflow-server" in error["message"]


async def _text(process: ServiceProcess, path: str) -> tuple[int, str]:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(process.url + path)
    return answer.status_code, answer.text
