"""Installed services at work: what their start loads, and an authored run by an installed worker alone (FR-1, G-5)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from temporalio.client import Client

from harness.installed import CLOSURE, Installed
from harness.installed_service import authored_run, started
from harness.interpreted import wait
from workflows_core.storage.database import Database

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
    assert sorted(found) == CLOSURE[program]["loaded"], HINT
    assert found & {name.replace("-", "_") for name in CLOSURE[program]["forbidden"]} == set()


async def test_a_module_that_does_not_belong_there_is_noticed(
    installed: Environments, environment: dict[str, str], tmp_path: Path
) -> None:
    first = "import types, sys; sys.modules['openai'] = types.ModuleType('openai')"
    async with started(installed("workflow-worker"), environment, tmp_path, first) as service:
        assert "openai" in await service.loaded()


def processes_of_ours() -> list[str]:
    """Command lines of the services and commands of ours that this test session has started and that still run."""
    command = ["ps", "-axww", "-o", "pid=,ppid=,args="]
    listed = [line.split(None, 2) for line in subprocess.check_output(command, text=True).splitlines()]
    children = {os.getpid()}
    while grown := {int(pid) for pid, parent, *_ in listed if int(parent) in children} - children:
        children |= grown
    names = ("bin/workflow-worker", "bin/temporal-worker", "bin/workflow-server", "bin/workflows", "started.py")
    mine = [" ".join(words[2:]) for words in listed if int(words[0]) in children]
    return [line for line in mine if any(name in line for name in names)]


async def test_an_installed_worker_alone_runs_an_authored_workflow(
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
        (only,) = processes_of_ours()
        assert str(installed("workflow-worker").directory) in only
        identity = (await worker.process.get("/readyz"))[1]["identity"]
    assert result["scopes"]["vars"]["kept"] == {"revision": 1, "created": True}
    history = await handle.fetch_history()
    workers = {e.workflow_task_completed_event_attributes.identity for e in history.events} - {""}
    assert workers == {identity}
