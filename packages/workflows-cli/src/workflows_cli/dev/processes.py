"""Services of a development stack: real console scripts, watched, ended with the stack."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workflows_cli.embedded.child import Child, Program
from workflows_cli.embedded.loopback import free_ports
from workflows_core.errors import Refused

READY_SECONDS = 60.0
STOP_SECONDS = 30


@dataclass
class ServiceProcess:
    """One service as a process that cannot outlive this one; its output goes to `log`."""

    service: str
    port: int
    log: Path
    log_start: int
    """Where in its log this process began."""
    child: Child

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.child.exit_code

    @property
    def health(self) -> str:
        """Base URL of its health endpoints."""
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    async def start(cls, service: str, environment: Mapping[str, str], log: Path) -> ServiceProcess:
        """Starts the service's console script beside this interpreter.

        Raises:
            Refused: `SERVICE_NOT_INSTALLED`.
        """
        script = Path(sys.executable).parent / service
        if not script.exists():
            raise Refused.one(
                "SERVICE_NOT_INSTALLED", f"{service} is not installed; install workflows-cli[dev]", str(script)
            )
        (port,) = free_ports([None])
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            log_start = output.tell()
        program = Program(
            name=service,
            command=(str(script), "run"),
            directory=Path.cwd(),
            log=log,
            environment={**_inherited(), **environment, "PORT": str(port), "HEALTH_HOST": "127.0.0.1"},
            stop_signal=signal.SIGTERM,
            grace_seconds=STOP_SECONDS,
        )
        starting = asyncio.create_task(asyncio.to_thread(Child.start, program))
        try:
            child = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The thread goes on, and nobody would stop what it starts.
            await asyncio.to_thread((await starting).stop)
            raise
        return cls(service, port, log, log_start, child)

    async def wait_ready(self) -> None:
        """Waits for `/readyz` to say 200.

        Raises:
            Refused: `SERVICE_NOT_READY`, with what readiness lacks or the end of the log.
        """
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        seen = "no answer yet"
        while asyncio.get_running_loop().time() < deadline:
            if self.exit_code is not None:
                text = f"{self.service} ended with exit code {self.exit_code}:\n{self.last_lines()}"
                raise Refused.one("SERVICE_NOT_READY", text, str(self.log))
            status, body = await asyncio.to_thread(fetch, f"{self.health}/readyz")
            if status == 200:
                return
            seen = body or seen
            await asyncio.sleep(0.1)
        text = f"{self.service} is not ready after {READY_SECONDS:.0f} s: {seen}\n{self.last_lines()}"
        raise Refused.one("SERVICE_NOT_READY", text, str(self.log))

    def last_lines(self, count: int = 12) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            written = self.log.read_bytes()[self.log_start :].decode(errors="replace")
            return "\n".join(written.splitlines()[-count:])
        return ""

    @property
    def lost_its_port(self) -> bool:
        """Whether it ended because another process took a port it was given."""
        return self.exit_code is not None and "PORT_NOT_AVAILABLE" in self.last_lines()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not drain in time."""
        await asyncio.to_thread(self.child.stop)


def fetch(url: str) -> tuple[int, str]:
    """Status and body of a loopback URL; 0 when nothing answers. Proxy variables are ignored."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (OSError, ValueError):
        return 0, ""


def fetch_json(url: str) -> object:
    """The JSON body of a loopback URL, or None."""
    _, body = fetch(url)
    try:
        return json.loads(body)
    except ValueError:
        return None


def _inherited() -> dict[str, str]:
    """What a service needs of our environment; of its settings only what authors try definitions with."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "COVERAGE_PROCESS_START")
    brought = (
        "WORKFLOW_ACTION_PACKS",
        "WORKFLOW_SECRETS_DIR",
        "WORKFLOW_HTTP_ALLOWED_NETWORKS",
        "WORKFLOW_RUNTIME_V2_EVENT_CORRELATION_PATHS_JSON",
    )
    return {name: os.environ[name] for name in (*kept, *brought) if name in os.environ}
