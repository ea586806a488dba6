"""Installed services at work: what their start loads, and an authored run by an installed worker alone (FR-1, G-5)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from temporalio.client import Client

from harness.installed import CLOSURE, Installed
from harness.installed_service import authored_run, started
from harness.interpreted import wait
from workflows_core.storage.database import Database
from workflows_core.storage.processes import live_processes

pytestmark = pytest.mark.asyncio(loop_scope="session")

Environments = Callable[[str], Installed]
SERVICES = ("workflow-worker", "temporal-worker", "workflow-server")
HINT = (
    "the start loads other top-level modules than contracts/wheel_closure.toml says: put back what came by accident, "
    "or change the list with the reason"
)


@pytest.mark.parametrize("program", SERVICES)
async def test_the_start_loads_what_is_listed_and_nothing_else(
    installed: Environments, environment: dict[str, str], tmp_path: Path, program: str
) -> None:
    async with started(installed(program), environment, tmp_path) as service:
        found = await service.loaded()
    # A distribution's own addition to its interpreter, such as Debian's.
    found -= {"sitecustomize", "usercustomize"}
    assert sorted(found) == CLOSURE[program]["loaded"], HINT
    assert found & {name.replace("-", "_") for name in CLOSURE[program]["forbidden"]} == set()


async def test_a_module_that_does_not_belong_there_is_noticed(
    installed: Environments, environment: dict[str, str], tmp_path: Path
) -> None:
    first = "import types, sys; sys.modules['openai'] = types.ModuleType('openai')"
    async with started(installed("workflow-worker"), environment, tmp_path, first) as service:
        assert "openai" in await service.loaded()


async def services_at_work(db: Database) -> set[str]:
    """Identities of every service that announced itself to this database, or has a connection to it."""
    connected = text("SELECT application_name FROM pg_stat_activity WHERE datname = current_database()")
    async with db.narrow() as conn:
        announced = {process.identity for process in await live_processes(conn)}
        names = (await conn.execute(connected)).scalars().all()
    return announced | {name for name in names if name and "@" in name}


async def test_hole_41_an_installed_worker_alone_runs_an_authored_workflow(
    installed: Environments, environment: dict[str, str], db: Database, client: Client, tmp_path: Path
) -> None:
    keep = {
        "type": "action.call",
        "config": {
            "actionId": "store.set",
            "version": 1,
            "inputMapping": {"namespace": "n", "key": "k", "value": {"$expr": "vars.event.amount"}},
            "saveAs": "vars.kept",
        },
    }
    async with started(installed("workflow-worker"), environment, tmp_path) as worker:
        handle = await authored_run(db, client, wait("PAID", "'k1'"), keep)
        event = {"eventId": "e1", "eventName": "PAID", "correlationKey": "k1", "payload": {"amount": 7}}
        await handle.signal("workflowRuntimeV2Event", event)
        result = await handle.result()
        identity = (await worker.process.get("/readyz"))[1]["identity"]
        assert await services_at_work(db) == {identity}
    assert result["scopes"]["vars"]["kept"] == {"revision": 1, "created": True}
    history = await handle.fetch_history()
    workers = {e.workflow_task_completed_event_attributes.identity for e in history.events} - {""}
    assert workers == {identity}
