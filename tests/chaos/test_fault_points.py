"""workflow-worker is killed at each boundary of ingress and launching, five times: every event has its effect once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from temporalio.client import Client

from harness.databases import MigratedDatabase
from harness.faults import POINTS, kill_at, load_of, worker_with_fault
from harness.run_records import rows
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.storage.database import Database

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(3000)]
TIMES = 5


async def test_a_kill_at_any_boundary_costs_no_event_and_repeats_none(
    db: Database, client: Client, temporal: EmbeddedTemporal, database: MigratedDatabase, tmp_path: Path
) -> None:
    environment = {
        **database.environment,
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": client.namespace,
    }
    load = load_of(db, client)
    await load.prepare()
    assert len(POINTS) >= 20
    for point in POINTS:
        for turn in range(TIMES):
            await kill_at(load, environment, tmp_path, point, 1 + turn % 3)
    async with worker_with_fault(environment, tmp_path, "", 0):
        await load.until_done()
        ends = await load.ends()
    paused = {end: ends.pop(end) for end in list(ends) if end[0] == "pauser"}
    assert ends == {
        ("waiter", "SUCCEEDED", "COMPLETED"): load.number,
        ("starter", "SUCCEEDED", "COMPLETED"): load.number,
    }
    assert paused.keys() == {("pauser", "SUCCEEDED", "COMPLETED"), ("pauser", "CANCELED", "CANCELED")}
    assert sum(paused.values()) == load.paused
    # Behind the ends, which tell why an effect is not there.
    assert await load.counted() == load.wanted
    verdicts = Counter(row["status"] for row in await rows(db, "workflow_event_deliveries"))
    assert verdicts == {"consumed": len(load.wanted)}
