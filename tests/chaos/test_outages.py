"""What a worker says and does when what it needs is wrong or goes away (holes 35, 40)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from temporalio.api.operatorservice.v1 import DeleteNamespaceRequest
from temporalio.client import Client

from harness.databases import MigratedDatabase
from harness.forwarding import Forwarder
from harness.service_process import running
from workflows_cli.embedded import EmbeddedTemporal

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]
SOON = 15.0


def environment_of(temporal: EmbeddedTemporal, database: MigratedDatabase) -> dict[str, str]:
    return {**database.environment, "TEMPORAL_ADDRESS": temporal.address, "TEMPORAL_NAMESPACE": temporal.namespace}


async def test_a_namespace_that_is_taken_away_ends_the_process_with_a_reason(
    database: MigratedDatabase, tmp_path: Path
) -> None:
    with EmbeddedTemporal() as own:
        async with running("workflow-worker", environment_of(own, database), tmp_path) as worker:
            await worker.ready()
            client = await Client.connect(own.address, namespace=own.namespace)
            await client.operator_service.delete_namespace(DeleteNamespaceRequest(namespace=own.namespace))
            gone_at = time.monotonic()
            while worker.process.returncode is None and (await worker.get("/readyz"))[0] == 200:
                await asyncio.sleep(0.1)
            assert time.monotonic() - gone_at < SOON
            async with asyncio.timeout(120):
                assert await worker.process.wait() == 1
    spent = worker.events("restarts_spent")
    assert [event["loop"] for event in spent] == ["ownership-probe"]
    assert "amespace" in worker.log.read_text("utf-8")


async def test_temporal_away_is_told_soon_and_survived(
    temporal: EmbeddedTemporal, database: MigratedDatabase, tmp_path: Path
) -> None:
    host, _, port = temporal.address.rpartition(":")
    frontend = Forwarder(host, int(port))
    await frontend.open()
    environment = {**environment_of(temporal, database), "TEMPORAL_ADDRESS": frontend.address}
    async with running("workflow-worker", environment, tmp_path) as worker:
        await worker.ready()
        pid = worker.process.pid
        await frontend.close()
        gone_at = time.monotonic()
        told = await worker.until("/readyz", 503)
        assert time.monotonic() - gone_at < SOON
        assert [name for name, part in told["parts"].items() if not part["ok"]]
        assert (await worker.get("/livez"))[0] == 200
        await asyncio.sleep(110)
        before = len(worker.log.read_text("utf-8").splitlines())
        await asyncio.sleep(10)
        assert len(worker.log.read_text("utf-8").splitlines()) - before < 30
        await frontend.open()
        await worker.ready()
        assert worker.process.pid == pid
        assert await worker.terminate() == 0
    await frontend.close()
