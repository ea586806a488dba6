"""A process that polls the authored queue and does not own it is told by the owner, in every place (G-1, R-1)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx
import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from harness.databases import MigratedDatabase
from harness.operator import command
from harness.service_process import running
from workflows_cli.embedded import EmbeddedTemporal

pytestmark = pytest.mark.asyncio(loop_scope="session")


@activity.defn
async def nothing() -> None:
    """What an intruder does."""


async def test_hole_36_a_foreign_poller_is_told_within_a_minute_in_log_metric_health_and_command_line(
    database: MigratedDatabase, tmp_path: Path
) -> None:
    # A server of its own: a poller that died stays in Temporal's list for 300 s.
    with EmbeddedTemporal() as own:
        environment = {**database.environment, "TEMPORAL_ADDRESS": own.address, "TEMPORAL_NAMESPACE": own.namespace}
        async with running("workflow-worker", environment, tmp_path) as worker:
            await worker.ready()
            stranger = await Client.connect(own.address, namespace=own.namespace, identity="curious@laptop:7")
            async with Worker(stranger, task_queue="workflow-runtime-v2", activities=[nothing]):
                came_at = time.monotonic()
                async with asyncio.timeout(60):
                    while not worker.events("foreign_poller"):
                        await asyncio.sleep(0.2)
                assert time.monotonic() - came_at < 60
                told = worker.events("foreign_poller")[0]
                assert (told["poller"], told["queue"], told["owner"]) == (
                    "curious@laptop:7",
                    "workflow-runtime-v2",
                    "workflow-worker",
                )
                status, body = await worker.get("/readyz")
                assert status == 200, "it is not the owner that is wrong"
                assert "intruder curious@laptop:7 on workflow-runtime-v2" in body["parts"]["ownership"]["detail"]
                async with httpx.AsyncClient(trust_env=False) as http:
                    metrics = (await http.get(f"{worker.url}/metrics")).text
                assert 'queue_foreign_pollers{queue="workflow-runtime-v2"} 1.0' in metrics
                code, output, _ = await command(environment, "ownership")
                assert code == 1
                assert "intruder: curious@laptop:7" in output
