"""A service as what it is in production: its console script as a process, seen from outside."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

SCRIPTS = Path(sys.executable).parent
WAIT_SECONDS = 60.0


def alive(pid: int) -> bool:
    """Whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class ServiceProcess:
    """A running console script.

    Attributes:
        url: Where its health is served.
        log: The file with its log lines.
    """

    def __init__(self, process: asyncio.subprocess.Process, url: str, log: Path) -> None:
        """Made by `running`."""
        self.process = process
        self.url = url
        self.log = log

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON body of one of its health paths; status 0 while nothing answers."""
        async with httpx.AsyncClient(trust_env=False) as http:
            try:
                answer = await http.get(self.url + path, timeout=10)
            except httpx.TransportError:
                return 0, {}
        return answer.status_code, answer.json()

    async def until(self, path: str, status: int, holds: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
        """Wait for an answer with this status for which the condition holds."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    assert self.process.returncode is None, self.log.read_text(encoding="utf-8")
                    found, body = await self.get(path)
                    if found == status and holds(body):
                        return body
                    await asyncio.sleep(0.1)
        except TimeoutError:
            last = json.dumps((await self.get(path))[1], indent=1)
            raise AssertionError(f"{path} did not become {status}: {last}\n{self.log.read_text('utf-8')}") from None

    async def ready(self) -> str:
        """Wait until it is ready; returns its identity."""
        return str((await self.until("/readyz", 200))["identity"])

    async def terminate(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.process.wait()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log events of one name so far."""
        lines = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The given variables and the few that any process needs."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, **environment}


@asynccontextmanager
async def running(
    script: str,
    environment: Mapping[str, str],
    directory: Path,
    *,
    scripts: Path = SCRIPTS,
    under: Sequence[str] = (),
) -> AsyncIterator[ServiceProcess]:
    """`<script> run` as a process, under another program's command; killed at the end if it still runs."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = int(reserved.getsockname()[1])
    log = directory / f"{script}.{port}.log"
    with log.open("w", encoding="utf-8") as stream:
        process = await asyncio.create_subprocess_exec(
            *(*under, str(scripts / script), "run"),
            env={**child_environment(environment), "PORT": str(port)},
            stdout=stream,
            stderr=stream,
        )
    try:
        yield ServiceProcess(process, f"http://127.0.0.1:{port}", log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ended(script: str, *arguments: str, environment: Mapping[str, str]) -> tuple[int, str, str]:
    """A command that ends by itself: exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        str(SCRIPTS / script),
        *arguments,
        env=child_environment(environment),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(WAIT_SECONDS):
        output, error = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), error.decode()
