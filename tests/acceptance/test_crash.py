"""SIGKILL and SIGTERM of workflow-worker at bad moments (NFR-3, AC-3; holes 6, 25, 27, 38)."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from harness.databases import MigratedDatabase
from harness.interpreted import document, wait
from harness.operator import publish, start, until_status, workflows
from harness.service_process import running
from workflows_cli.embedded import EmbeddedTemporal

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


@dataclass
class Receiver:
    """An HTTP server that counts what it is asked for; it answers `/slow` only once it may."""

    port: int = 0
    keys: list[tuple[str, str]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        self.keys.append((path, headers["idempotency-key"]))
        if path == "/slow":
            self.asked.set()
            await self.may_answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}")
        writer.close()


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found


def increment(counter: str) -> dict[str, Any]:
    mapping = {"namespace": "crash", "key": counter, "by": 1}
    return {"type": "action.call", "config": {"actionId": "store.increment", "version": 1, "inputMapping": mapping}}


def request(port: int, path: str) -> dict[str, Any]:
    mapping = {"method": "POST", "url": f"http://127.0.0.1:{port}{path}"}
    return {"type": "action.call", "config": {"actionId": "http.request", "version": 1, "inputMapping": mapping}}


@pytest.fixture
def environment(temporal: EmbeddedTemporal, database: MigratedDatabase) -> dict[str, str]:
    return {
        **database.environment,
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": temporal.namespace,
        "WORKFLOWS_TENANT": "acme",
        "WORKFLOW_HTTP_ALLOWED_NETWORKS": "127.0.0.0/8",
    }


def rows(database: MigratedDatabase, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.admin_url) as connection:
        return connection.execute(query.encode()).fetchall()


async def test_hole_6_a_kill_in_the_middle_of_a_run_costs_no_effect_and_repeats_none(
    environment: dict[str, str], database: MigratedDatabase, tmp_path: Path
) -> None:
    async with receiver() as outside:
        port = outside.port
        steps = [increment("a"), request(port, "/fast"), request(port, "/slow"), increment("b"), request(port, "/last")]
        key = await publish(environment, {**document(*steps), "id": "kill"}, tmp_path)
        async with running("workflow-worker", environment, tmp_path) as first:
            await first.ready()
            run_id = await start(environment, key, {})
            await outside.asked.wait()
            first.process.kill()
            await first.process.wait()
        outside.may_answer.set()
        async with running("workflow-worker", environment, tmp_path):
            shown = await until_status(environment, run_id, "SUCCEEDED")
    assert [step["status"] for step in shown["steps"]] == ["SUCCEEDED"] * 5
    values = dict(rows(database, "SELECT key, value::text FROM workflow_data_store"))
    assert values == {"a": "1", "b": "1"}
    by_path = Counter(path for path, _ in set(outside.keys))
    assert by_path == {"/fast": 1, "/slow": 1, "/last": 1}, "one idempotency key per step, whatever was repeated"
    assert [path for path, _ in outside.keys].count("/fast") == 1
    assert rows(database, "SELECT DISTINCT status FROM workflow_action_invocations") == [("SUCCEEDED",)]


async def test_hole_27_a_kill_inside_the_task_that_opens_a_wait_loses_no_event(
    environment: dict[str, str], database: MigratedDatabase, client: Client, tmp_path: Path
) -> None:
    # Near the engine's limit of steps each, so that the first workflow task is long enough to be caught in.
    slow = "$contains('" + "a" * 19 + "!', /^(a+)+$/)"
    compute = {
        "type": "transform.assign",
        "config": {"assign": {f"vars.x{n}": {"$expr": slow} for n in range(8)}},
    }
    key = await publish(environment, {**document(compute, wait("PAID", "payload.id")), "id": "in-task"}, tmp_path)
    async with running("workflow-worker", environment, tmp_path) as first:
        await first.ready()
        run_id = await start(environment, key, {"id": "k1"})
        handle = client.get_workflow_handle(f"workflow-runtime-v2:run:{run_id}")
        while not await started_and_open(handle):
            assert not rows(database, "SELECT * FROM workflow_run_waits"), "the task ended before anybody saw it"
            await asyncio.sleep(0.01)
        first.process.kill()
        await first.process.wait()
    assert await started_and_open(handle), "the kill came too late to be inside the task"
    assert rows(database, "SELECT * FROM workflow_run_waits") == []
    assert rows(database, "SELECT * FROM workflow_run_steps") == []
    await workflows(environment, "events", "publish", "PAID", "--key", "k1", "--payload", '{"amount": 3}')
    async with running("workflow-worker", environment, tmp_path):
        shown = await until_status(environment, run_id, "SUCCEEDED")
    assert [(w["status"], w["eventName"]) for w in shown["waits"]] == [("RESOLVED", "PAID")]
    assert [d["status"] for d in shown["deliveries"]] == ["consumed"]
    result = await handle.result()
    assert result["scopes"]["vars"]["event"] == {"amount": 3}


async def started_and_open(handle: Any) -> bool:
    """True while the first workflow task runs: started, not completed."""
    history = await handle.fetch_history()
    return bool(history.events) and history.events[-1].event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED


async def test_hole_38_sigterm_drains_and_the_run_goes_on_in_the_next_process(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async with receiver() as outside:
        steps = [request(outside.port, "/slow"), increment("c")]
        key = await publish(environment, {**document(*steps), "id": "drain"}, tmp_path)
        async with running("workflow-worker", environment, tmp_path) as first:
            await first.ready()
            run_id = await start(environment, key, {})
            await outside.asked.wait()
            stopping = asyncio.create_task(first.terminate())
            await first.until("/readyz", 503, lambda body: body["state"] == "draining")
            outside.may_answer.set()
            assert await stopping == 0
        async with running("workflow-worker", environment, tmp_path):
            shown = await until_status(environment, run_id, "SUCCEEDED")
    assert [step["attempt"] for step in shown["steps"]] == [1, 1]
    assert len(set(outside.keys)) == 1
    assert "Traceback" not in first.log.read_text(encoding="utf-8")


async def test_events_published_while_nobody_lives_reach_their_runs_in_order(
    environment: dict[str, str], tmp_path: Path
) -> None:
    steps = [wait("STEP", "payload.id") for _ in range(3)]
    assign = {"vars.seen": {"$expr": "append(vars.seen, vars.event.n)"}}
    for step in steps:
        step["config"]["assign"] = assign
    key = await publish(environment, {**document(*steps), "id": "ordered"}, tmp_path)
    async with running("workflow-worker", environment, tmp_path) as first:
        await first.ready()
        run_id = await start(environment, key, {"id": "k1"})
        await until_status(environment, run_id, "WAITING")
        await first.terminate()
    for number in (1, 2, 3):
        payload = json.dumps({"n": number})
        await workflows(environment, "events", "publish", "STEP", "--key", "k1", "--payload", payload)
    async with running("workflow-worker", environment, tmp_path):
        shown = await until_status(environment, run_id, "SUCCEEDED")
    assert shown["run"]["resultJson"]["scopes"]["vars"]["seen"] == [1, 2, 3]
