"""A database that holds connections open and answers nothing (hole 35): known soon, quiet in the log, stops no run."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from harness.databases import MigratedDatabase
from harness.forwarding import Forwarder
from harness.interpreted import document, wait
from harness.operator import publish, start, until_status
from harness.service_process import running
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.wire.names import QUERY_SUMMARY, SIGNAL_EVENT

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]
HANGS_SECONDS = 15.0


def short(name: str) -> dict[str, Any]:
    mapping = {"text": {"$expr": f"'{name}'"}}
    config = {"actionId": "transform.truncate_text", "version": 1, "inputMapping": {**mapping, "maxLength": 30}}
    return {"type": "action.call", "config": config}


async def until_steps(handle: WorkflowHandle[Any, Any], count: int) -> float:
    """Seconds until the run has done so many steps."""
    begun = time.monotonic()
    async with asyncio.timeout(30):
        while (await handle.query(QUERY_SUMMARY))["stepsRun"] < count:
            await asyncio.sleep(0.05)
    return time.monotonic() - begun


async def test_hole_35_a_database_that_hangs_makes_the_worker_unready_and_delays_no_short_action(
    temporal: EmbeddedTemporal, database: MigratedDatabase, client: Client, tmp_path: Path
) -> None:
    postgres = Forwarder(database.host, database.port)
    await postgres.open()
    direct = {
        **database.environment,
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": temporal.namespace,
        "WORKFLOWS_TENANT": "acme",
    }
    steps = [wait("GO", "payload.id"), short("a"), short("b"), short("c"), wait("END", "payload.id")]
    async with running("workflow-worker", {**direct, "DB_PORT": str(postgres.port)}, tmp_path) as worker:
        await worker.ready()
        key = await publish(direct, {**document(*steps), "id": "hanging"}, tmp_path)
        run_id = await start(direct, key, {"id": "k"})
        await until_status(direct, run_id, "WAITING")
        handle = client.get_workflow_handle(f"workflow-runtime-v2:run:{run_id}")

        postgres.hang()
        hung_at = time.monotonic()
        lines_before = len(worker.log.read_text("utf-8").splitlines())
        body = {"eventId": "go", "eventName": "GO", "correlationKey": "k", "payload": {}}
        await handle.signal(SIGNAL_EVENT, body)
        assert await until_steps(handle, 5) < 5, "short actions wait for no database"
        unready = await worker.until("/readyz", 503)
        assert time.monotonic() - hung_at < 15
        assert not unready["parts"]["database:schema"]["ok"]
        detail = unready["parts"]["database:schema"]["detail"]
        assert any(said in detail for said in ("no answer within 3 s", "timeout expired")), detail
        await asyncio.sleep(max(0.0, hung_at + HANGS_SECONDS - time.monotonic()))
        assert (await worker.get("/livez"))[0] == 200
        shown = worker.log.read_text("utf-8").splitlines()[lines_before:]
        by_loop = Counter(event["loop"] for event in worker.events("loop_degraded"))
        assert all(count < HANGS_SECONDS for count in by_loop.values()), by_loop
        assert len(shown) < HANGS_SECONDS * 5, shown
        assert "Traceback" not in "\n".join(shown)

        postgres.flow()
        await worker.ready()
        found = await until_status(direct, run_id, "WAITING")
        assert [step["status"] for step in found["steps"]][:4] == ["SUCCEEDED"] * 4
        await handle.signal(SIGNAL_EVENT, {**body, "eventId": "end", "eventName": "END"})
        await until_status(direct, run_id, "SUCCEEDED")
        assert await worker.terminate() == 0
    await postgres.close()
