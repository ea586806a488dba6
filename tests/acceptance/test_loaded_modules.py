"""What the start of workflow-worker loads (FR-4, FR-5, FR-6, NFR-2, AC-4, T008)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from acceptance.conftest import Stack
from harness.service_process import ServiceProcess, child_environment
from workflows_cli.dev.processes import free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")
FORBIDDEN = {
    "workflows_bootstrap",
    "workflows_cli",
    "workflow_server",
    "temporal_worker",
    "fastapi",
    "starlette",
    "alembic",
    "openai",
    "anthropic",
}
# The console script's own two lines, in a process that tells what it has loaded once it is asked.
PROGRAM = """
import pathlib, sys, threading, time

def tell(ask=pathlib.Path(sys.argv[1]), answer=pathlib.Path(sys.argv[2])):
    while not ask.exists():
        time.sleep(0.05)
    answer.with_suffix(".new").write_text("\\n".join(sorted(sys.modules)))
    answer.with_suffix(".new").rename(answer)

threading.Thread(target=tell, daemon=True).start()
sys.argv = ["workflow-worker", "run"]
{extra}
from workflow_worker.main import main
main()
"""


async def loaded(stack: Stack, directory: Path, extra: str = "") -> set[str]:
    """Top-level modules of a workflow-worker that is ready and polls."""
    port = free_port()
    ask, answer, log = directory / "ask", directory / "answer", directory / "log"
    with log.open("w", encoding="utf-8") as stream:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-c", PROGRAM.format(extra=extra), str(ask), str(answer)),
            env={**child_environment(stack.environment), "PORT": str(port)},
            stdout=stream,
            stderr=stream,
        )
    try:
        await ServiceProcess(process, f"http://127.0.0.1:{port}", log).ready()
        ask.touch()
        while not answer.exists():
            await asyncio.sleep(0.05)
    finally:
        process.kill()
        await process.wait()
    return {name.partition(".")[0] for name in answer.read_text(encoding="utf-8").splitlines()}


async def test_the_start_of_workflow_worker_loads_nothing_of_the_application(stack: Stack, tmp_path: Path) -> None:
    found = await loaded(stack, tmp_path)
    assert {"workflow_worker", "workflows_core", "service_host", "temporalio", "jlens"} <= found
    assert found & FORBIDDEN == set()


async def test_a_module_that_does_not_belong_there_is_noticed(stack: Stack, tmp_path: Path) -> None:
    assert "alembic" in await loaded(stack, tmp_path, extra="import alembic")
