"""An installed service as a process, and a run that a bare client gives it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from temporalio.client import Client

from harness.installed import Installed
from harness.interpreted import document
from harness.service_process import ServiceProcess, child_environment
from workflows_cli.embedded.loopback import free_ports
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version, save_draft

STARTED = Path(__file__).with_name("started.py")


class Started:
    """A service of an installed environment, ready."""

    def __init__(self, process: ServiceProcess, directory: Path) -> None:
        self.process = process
        self._directory = directory

    async def loaded(self) -> set[str]:
        """Top-level modules it has loaded, standard library left out."""
        (self._directory / "ask").touch()
        while not (self._directory / "answer").exists():
            await asyncio.sleep(0.05)
        return set((self._directory / "answer").read_text(encoding="utf-8").splitlines())


@asynccontextmanager
async def started(
    installed: Installed, environment: dict[str, str], directory: Path, first: str = "", **settings: str
) -> AsyncIterator[Started]:
    """Runs it until the block ends."""
    port = free_ports([None])[0]
    log = directory / "log"
    module = installed.program.replace("-", "_")
    with log.open("w", encoding="utf-8") as stream:
        process = await asyncio.create_subprocess_exec(
            str(installed.python),
            *("-I", str(STARTED), module, str(directory / "ask"), str(directory / "answer"), first),
            cwd=directory,
            env={**child_environment(environment), **settings, "PORT": str(port), "WORKFLOW_SERVER_PORT": "0"},
            stdout=stream,
            stderr=stream,
        )
    try:
        running = ServiceProcess(process, f"http://127.0.0.1:{port}", log)
        await running.ready()
        yield Started(running, directory)
        assert await running.terminate() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def authored_run(db: Database, client: Client, *steps: dict[str, Any]) -> Any:
    """Publishes, and starts as a bare client; the run's handle."""
    content = document(*steps)
    key = f"wf-{uuid.uuid4().hex[:12]}"
    async with db.tenant("acme") as conn:
        draft = await save_draft(conn, workflow_id=key, key=key, name=key, document=content)
        version = await publish_version(conn, draft.workflow_id, draft.draft_definition)
    run_id = str(uuid.uuid4())
    body = {
        "runId": run_id,
        "tenantId": "acme",
        "workflowId": version.workflow_id,
        "workflowVersion": version.version,
        "triggerType": None,
        "executionKey": None,
    }
    return await client.start_workflow(
        "workflowRuntimeV2RunWorkflow", body, id=f"workflow-runtime-v2:run:{run_id}", task_queue="workflow-runtime-v2"
    )
