"""A service as the first process of a container: the kernel gives that one no default action for a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from acceptance.conftest import Stack
from harness.service_process import ServiceProcess, running

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has namespaces of processes"),
]
NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


def service_of(worker: ServiceProcess) -> int | None:
    """The id, as seen from here, of the service that is the one child of `unshare`, once there is one."""
    found = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children").read_text("ascii").split()
    return int(found[0]) if found else None


def takes(worker: ServiceProcess, number: signal.Signals) -> bool:
    """Whether the service has a handler for a signal."""
    pid = service_of(worker)
    status = "" if pid is None else Path(f"/proc/{pid}/status").read_text("utf-8")
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)


async def drained(worker: ServiceProcess) -> int:
    """Sends SIGTERM to the service itself; the exit code."""
    pid = service_of(worker)
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    async with asyncio.timeout(30):
        return await worker.process.wait()


async def test_the_first_process_drains(stack: Stack, tmp_path: Path) -> None:
    async with running("workflow-worker", stack.environment, tmp_path, under=NAMESPACE) as worker:
        assert (await worker.ready()).endswith(":1"), "it is not the first process"
        assert await drained(worker) == 0
    assert worker.events("process_stopped")[0]["exit_code"] == 0


async def test_the_first_process_ends_by_a_signal_while_it_loads(stack: Stack, tmp_path: Path) -> None:
    async with running("workflow-worker", stack.environment, tmp_path, under=NAMESPACE) as worker:
        async with asyncio.timeout(30):
            while not takes(worker, signal.SIGTERM):
                await asyncio.sleep(0.002)
        assert worker.log.read_text("utf-8") == "", "it has started already"
        assert await drained(worker) == 0
