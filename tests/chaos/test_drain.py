"""SIGTERM under load, a hundred times, and a cold start with many open runs."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from harness.databases import MigratedDatabase
from harness.faults import load_of
from harness.run_records import TENANT, publish, rows
from harness.service_process import running
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.launching.launcher import LaunchRequest
from workflows_core.storage.database import Database

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(3000)]
SIGNALS = 100
OPEN_RUNS = 500


@pytest.fixture
def environment(temporal: EmbeddedTemporal, client: Client, database: MigratedDatabase) -> Mapping[str, str]:
    return {**database.environment, "TEMPORAL_ADDRESS": temporal.address, "TEMPORAL_NAMESPACE": client.namespace}


async def test_a_hundred_sigterms_under_load_end_in_time_and_cost_no_effect(
    db: Database, client: Client, environment: Mapping[str, str], tmp_path: Path
) -> None:
    chance = random.Random(5)  # noqa: S311 - moments, no secrets
    load = load_of(db, client)
    await load.prepare()
    took = []
    for _ in range(SIGNALS):
        async with running("workflow-worker", environment, tmp_path) as worker:
            await load.batch(2)
            # Every fifth signal comes while the process still starts.
            if chance.randrange(5):
                await worker.ready()
                await load.batch(2)
            await asyncio.sleep(chance.uniform(0.0, 0.7))
            begun = time.monotonic()
            assert await worker.terminate() == 0, worker.log.read_text("utf-8")
            took.append(time.monotonic() - begun)
    assert max(took) < 30
    async with running("workflow-worker", environment, tmp_path):
        await load.until_done()
    assert await load.counted() == load.wanted
    assert Counter(row["status"] for row in await rows(db, "workflow_runs")) == {"SUCCEEDED": len(load.wanted)}
    figures = f"{len(load.wanted)} effects, at most {max(took):.1f} s, median {sorted(took)[50]:.1f} s"
    print(f"\n{SIGNALS} signals, {figures}")  # noqa: T201 - the figures are for the record


async def test_a_cold_start_with_many_open_runs_fails_no_workflow_task(
    db: Database, client: Client, environment: Mapping[str, str], tmp_path: Path
) -> None:
    load = load_of(db, client)
    await load.prepare()
    names = [f"cold-{number}" for number in range(OPEN_RUNS)]
    async with running("workflow-worker", environment, tmp_path) as worker:
        for name in names:
            await load.launcher.launch(
                LaunchRequest(tenant=TENANT, workflow="waiter", payload={"id": name}, run_id=name)
            )
        while Counter(row["status"] for row in await rows(db, "workflow_runs")) != {"WAITING": OPEN_RUNS}:
            await asyncio.sleep(0.5)
        worker.process.kill()
        await worker.process.wait()
    for name in names:
        await publish(db, f"go-{name}", name, event_name="GO")
    begun = time.monotonic()
    async with running("workflow-worker", environment, tmp_path) as worker:
        await load.until_done()
        took = time.monotonic() - begun
        assert await worker.terminate() == 0
    assert await load.counted() == {f"waited-{name}": "1" for name in names}
    failed = 0
    for name in names:
        history = await client.get_workflow_handle(f"workflow-runtime-v2:run:{name}").fetch_history()
        failed += sum(e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED for e in history.events)
    assert failed == 0
    assert "deadlock" not in worker.log.read_text("utf-8").lower()
    print(f"\n{OPEN_RUNS} runs went on and ended within {took:.1f} s of a cold start")  # noqa: T201
