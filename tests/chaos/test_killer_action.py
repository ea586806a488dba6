"""An action that kills its worker is found out, and those that ran beside it finish."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.databases import MigratedDatabase
from harness.interpreted import document
from harness.operator import publish, start, until_status
from harness.service_process import running
from workflows_cli.embedded import EmbeddedTemporal

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]
PACK = """
import asyncio, os
from workflows_core.actions.action import Action, Effect

ANY = {"type": "object"}


async def kill(value, context):
    os._exit(9)


async def work(value, context):
    await asyncio.sleep(3)
    return {}


def actions():
    common = {"effect": Effect.IDEMPOTENT, "heartbeat_ms": 1000}
    return [
        Action("deadly.kill", 1, kill, ANY, ANY, "Ends the process.", **common),
        Action("deadly.work", 1, work, ANY, ANY, "Takes three seconds.", **common),
    ]
"""


def calls(action: str) -> dict[str, Any]:
    step = {"type": "action.call", "config": {"actionId": action, "version": 1, "inputMapping": {}}}
    return {**document(step), "id": action}


def installed_pack(directory: Path) -> Path:
    """A pack as an installed distribution looks like on the path."""
    (directory / "deadly_pack.py").write_text(PACK, encoding="utf-8")
    info = directory / "deadly_pack-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly-pack\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[workflows.action_packs]\ndeadly = deadly_pack:actions\n", encoding="utf-8")
    return directory


async def test_a_killer_fails_as_action_crashed_and_its_neighbours_finish(
    own_temporal: EmbeddedTemporal, database: MigratedDatabase, tmp_path: Path
) -> None:
    environment = {
        **database.environment,
        "TEMPORAL_ADDRESS": own_temporal.address,
        "TEMPORAL_NAMESPACE": own_temporal.namespace,
        "WORKFLOWS_TENANT": "acme",
        "WORKFLOW_ACTION_PACKS": "deadly",
        "PYTHONPATH": str(installed_pack(tmp_path)),
    }
    deaths = 0
    for action in ("deadly.kill", "deadly.work"):
        await publish(environment, calls(action), tmp_path, "--accept-unknown-actions")
    runs = {await start(environment, "deadly.work"): "SUCCEEDED" for _ in range(20)}
    runs[await start(environment, "deadly.kill")] = "FAILED"
    while not _all_ended(database):
        async with running("workflow-worker", environment, tmp_path) as worker:
            while worker.process.returncode is None and not _all_ended(database):
                await asyncio.sleep(0.2)
            deaths += worker.process.returncode is not None
    assert 6 <= deaths <= 9, deaths
    for run_id, status in runs.items():
        shown = await until_status(environment, run_id, status)
        if status == "FAILED":
            assert shown["run"]["errorJson"]["category"] == "ActionCrashed"


def _all_ended(database: MigratedDatabase) -> bool:
    with psycopg.connect(database.admin_url) as connection:
        found = connection.execute("SELECT bool_and(status IN ('SUCCEEDED', 'FAILED')) FROM workflow_runs").fetchone()
    return bool(found and found[0])
