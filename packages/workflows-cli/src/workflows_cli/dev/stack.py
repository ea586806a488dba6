"""Starts and stops a whole development stack; one line of output for each process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from workflows_cli.dev.processes import ServiceProcess, fetch
from workflows_cli.dev.state import StackState
from workflows_cli.embedded.loopback import PORT_TRIES, free_ports
from workflows_cli.embedded.postgres import EmbeddedPostgres
from workflows_cli.embedded.state import make_directory
from workflows_cli.embedded.temporal import EmbeddedTemporal
from workflows_cli.migrations.upgrade import create_login, upgrade
from workflows_core.errors import Refused

SERVICES = ("workflow-worker", "temporal-worker", "workflow-server")
TEMPORAL_PORT, UI_PORT, POSTGRES_PORT, API_PORT = 7233, 8233, 54329, 8090
_LOGIN = "workflow_worker_dev"


@dataclass
class DevStack:
    """Embedded Temporal and PostgreSQL, migrations, and the services as processes."""

    directory: Path
    tell: Callable[[str], None]
    without: Sequence[str] = ()
    services: dict[str, ServiceProcess] = field(default_factory=dict)
    state: StackState = field(init=False)
    _told: bool = field(default=False, init=False)
    """Whether the directory's state file is this stack's: another one may run there."""

    def __post_init__(self) -> None:
        # Before those in it, which would make it with the rights that others have by default.
        make_directory(self.directory.absolute())
        self.postgres = EmbeddedPostgres(self.directory / "postgres", port=POSTGRES_PORT)
        self.api_port = free_ports([API_PORT])[0]
        self.temporal = EmbeddedTemporal(self.directory / "temporal", port=TEMPORAL_PORT, ui=True, ui_port=UI_PORT)

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _start(self) -> None:
        await self._start_servers()
        password = secrets.token_hex(16)
        await asyncio.to_thread(self._prepare_database, password)
        # As root its data is elsewhere, and stays when the directory is deleted.
        data = f"  data {self.postgres.data}" if self.directory.absolute() not in self.postgres.data.parents else ""
        self._tell_of("postgresql", "ready", f"127.0.0.1:{self.postgres.port}/{self.postgres.database}{data}")
        self._tell_of("temporal", "ready", f"{self.temporal.address}  web UI {self._ui}")
        self._told = True
        self.state = self._state_with(password)
        self.state.write(self.directory)
        for service in self.without:
            self._tell_of(service, "left out", "")
        wanted = [service for service in SERVICES if service not in self.without]
        await asyncio.gather(*map(self._start_service, wanted))
        for service in wanted:
            process = self.services[service]
            self._tell_of(service, "ready", f"{process.health}/readyz  log {process.log}")
        if "workflow-server" in wanted:
            moved = "" if self.api_port == API_PORT else f"  (port {API_PORT} is taken)"
            self._tell_of("HTTP API", "ready", f"http://127.0.0.1:{self.api_port}/v1{moved}")
        self.state = self._state_with(password)
        self.state.write(self.directory)

    async def _start_servers(self) -> None:
        starts = [asyncio.to_thread(server.start) for server in (self.postgres, self.temporal)]
        starting = asyncio.gather(*starts, return_exceptions=True)
        try:
            await asyncio.shield(starting)
        finally:
            # Threads are not cut: what still started could not be stopped.
            outcomes = await starting
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _start_service(self, service: str) -> None:
        """Another process may take a port between our look and the service's: then it starts once more with others."""
        log = self.directory / "logs" / f"{service}.log"
        environment = self.state.environment()
        for attempt in range(PORT_TRIES):
            process = self.services[service] = await ServiceProcess.start(service, environment, log)
            try:
                await process.wait_ready()
            except Refused:
                if not process.lost_its_port or attempt == PORT_TRIES - 1:
                    raise
                await process.stop()
            else:
                return
            if service == "workflow-server":
                self.api_port = free_ports([None])[0]
                environment["WORKFLOW_SERVER_PORT"] = str(self.api_port)

    @property
    def _ui(self) -> str:
        return f"{self.temporal.ui_address}/namespaces/{self.temporal.namespace}/workflows"

    def _prepare_database(self, password: str) -> None:
        upgrade(self.postgres.url())
        create_login(self.postgres.url(), _LOGIN, password)

    def _state_with(self, password: str) -> StackState:
        return StackState(
            pid=os.getpid(),
            temporal_address=self.temporal.address,
            temporal_namespace=self.temporal.namespace,
            database_host=self.postgres.host,
            database_port=self.postgres.port,
            database_name=self.postgres.database,
            database_user=_LOGIN,
            database_password=password,
            admin_url=self.postgres.url(),
            api_port=self.api_port,
            services={process.service: process.health for process in self.services.values()},
        )

    async def watch(self) -> None:
        """Returns never; tells each change of a process's state.

        Raises:
            Refused: `SERVICE_ENDED`, when one of them has ended.
        """
        ready = dict.fromkeys(self.services, True)
        while True:
            await asyncio.sleep(1)
            for server, name in ((self.postgres, "postgresql"), (self.temporal, "temporal")):
                if server.exit_code is not None:
                    text = f"{name} ended with exit code {server.exit_code}; see {server.log}"
                    raise Refused.one("SERVICE_ENDED", text, name)
            for service, process in self.services.items():
                if process.exit_code is not None:
                    text = f"{service} ended with exit code {process.exit_code}:\n{process.last_lines()}"
                    raise Refused.one("SERVICE_ENDED", text, str(process.log))
                status, _ = await asyncio.to_thread(fetch, f"{process.health}/readyz")
                if (status == 200) != ready[service]:
                    ready[service] = status == 200
                    self._tell_of(service, "ready" if ready[service] else "not ready", f"{process.health}/readyz")

    def _tell_of(self, name: str, status: str, where: str) -> None:
        self.tell(f"{name:<16} {status:<10} {where}".rstrip())

    async def stop(self) -> None:
        """Ends the services, then the servers."""
        if self._told:
            StackState.forget(self.directory)
        await asyncio.gather(*(process.stop() for process in self.services.values()), return_exceptions=True)
        for server in (self.temporal, self.postgres):
            with contextlib.suppress(Exception):
                await asyncio.to_thread(server.close)
