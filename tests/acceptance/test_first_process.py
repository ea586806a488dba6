"""A service as the first process of a container: the kernel gives that one no default action for a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from acceptance.conftest import Stack
from harness.service_process import SCRIPTS, ServiceProcess, child_environment
from workflows_cli.embedded.loopback import free_ports

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has namespaces of processes"),
]
NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


class First(ServiceProcess):
    """Signals go to the service, which is the one child of `unshare`."""

    @property
    def pid(self) -> int | None:
        """The service's own id as seen from here, once there is one."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text("ascii").split()
        return int(found[0]) if found else None

    def takes(self, number: signal.Signals) -> bool:
        """Whether the service has a handler for a signal."""
        status = "" if self.pid is None else Path(f"/proc/{self.pid}/status").read_text("utf-8")
        caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
        return bool(int(caught, 16) >> (number - 1) & 1)

    async def drained(self) -> int:
        """Sends SIGTERM; the exit code."""
        assert self.pid is not None
        os.kill(self.pid, signal.SIGTERM)
        async with asyncio.timeout(30):
            return await self.process.wait()


@asynccontextmanager
async def first_process(environment: dict[str, str], directory: Path) -> AsyncIterator[First]:
    (port,) = free_ports([None])
    log = directory / "first.log"
    with log.open("w", encoding="utf-8") as stream:
        process = await asyncio.create_subprocess_exec(
            *(*NAMESPACE, str(SCRIPTS / "workflow-worker"), "run"),
            env={**child_environment(environment), "PORT": str(port)},
            stdout=stream,
            stderr=stream,
        )
    try:
        yield First(process, f"http://127.0.0.1:{port}", log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_the_first_process_drains(stack: Stack, tmp_path: Path) -> None:
    async with first_process(stack.environment, tmp_path) as worker:
        assert (await worker.ready()).endswith(":1"), "it is not the first process"
        assert await worker.drained() == 0
    assert worker.events("process_stopped")[0]["exit_code"] == 0


async def test_the_first_process_ends_by_a_signal_while_it_loads(stack: Stack, tmp_path: Path) -> None:
    async with first_process(stack.environment, tmp_path) as worker:
        async with asyncio.timeout(30):
            while not worker.takes(signal.SIGTERM):
                await asyncio.sleep(0.002)
        assert worker.log.read_text("utf-8") == "", "it has started already"
        assert await worker.drained() == 0
