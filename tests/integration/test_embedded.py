"""Embedded servers: what they keep, what they leave, and what their failures say."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from temporalio.client import Client

from harness.service_process import alive
from workflows_cli.embedded import EmbeddedPostgres, EmbeddedStartFailed, EmbeddedTemporal
from workflows_cli.embedded.binaries import postgres_installation


def until(holds: Callable[[], bool]) -> None:
    """The test's time-out bounds it."""
    while not holds():
        time.sleep(0.02)


def rows(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM kept").fetchall()]


def keep_a_row(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")


def test_postgres_with_a_directory_goes_on_where_it_was(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "stack") as server:
        keep_a_row(server.url())
        before, port = server.url(), server.port
    with EmbeddedPostgres(tmp_path / "stack") as server:
        assert rows(server.url()) == [1]
        assert server.url() == before.replace(str(port), str(server.port))


def test_a_temporary_postgres_can_be_stopped_and_leaves_nothing_in_the_end() -> None:
    server = EmbeddedPostgres().start()
    base = server.log.parent
    try:
        keep_a_row(server.url())
        url = server.url()
        server.stop()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        server.start()
        assert (server.url(), rows(server.url())) == (url, [1])
    finally:
        server.close()
    assert not base.exists()


def test_postgres_asks_for_its_password(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.url(password="guessed"))


def test_postgres_is_copied_where_its_account_cannot_reach_it_and_no_permission_changes(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    package = postgres_installation().parent
    for part in package.parent.glob(f"{package.name}*"):
        if part.is_dir() and not part.name.endswith(".dist-info"):
            shutil.copytree(part, hidden / part.name)
    hidden.chmod(0o700)
    before = {path: path.lstat().st_mode for path in (tmp_path, *hidden.rglob("*"))}
    with EmbeddedPostgres(installation=hidden / package.name / "pginstall") as server:
        keep_a_row(server.url())
    assert {path: path.lstat().st_mode for path in (tmp_path, *hidden.rglob("*"))} == before


def test_a_taken_port_is_left_to_its_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with EmbeddedPostgres(port=port) as postgres, EmbeddedTemporal(port=port) as temporal:
            assert postgres.port != port
            assert temporal.address != f"127.0.0.1:{port}"


def test_a_postgres_that_ends_early_fails_the_start_with_its_last_words(tmp_path: Path) -> None:
    programs = tmp_path / "package" / "pginstall" / "bin"
    programs.mkdir(parents=True)
    (programs / "initdb").write_text('#!/bin/sh\n[ "$1" = --pgdata ] && mkdir "$2"\nexit 0\n')
    (programs / "postgres").write_text("#!/bin/sh\necho 'FATAL: the disk is full'\nexit 1\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    with pytest.raises(EmbeddedStartFailed, match=r"(?s)PostgreSQL ended with exit code 1 .*the disk is full"):
        EmbeddedPostgres(installation=programs.parent).start()


def test_a_temporal_that_ends_early_fails_the_start_with_its_last_words() -> None:
    with pytest.raises(EmbeddedStartFailed, match=r"(?s)Temporal ended with exit code 1 .*Nonsense"):
        EmbeddedTemporal(search_attributes={"Mistyped": "Nonsense"}).start()


@pytest.mark.asyncio
async def test_temporal_with_a_directory_goes_on_where_it_was(tmp_path: Path) -> None:
    async def client_of(server: EmbeddedTemporal) -> Client:
        return await Client.connect(server.address, namespace=server.namespace)

    with EmbeddedTemporal(tmp_path / "stack") as server:
        await (await client_of(server)).start_workflow("nobody-runs-it", id="kept", task_queue="none")
        before = server.namespace
    with EmbeddedTemporal(tmp_path / "stack") as server:
        assert server.namespace == before
        described = await (await client_of(server)).get_workflow_handle("kept").describe()
        assert described.workflow_type == "nobody-runs-it"


@pytest.mark.parametrize("server", ["EmbeddedPostgres", "EmbeddedTemporal"])
def test_a_server_ends_with_a_killed_parent_and_leaves_nothing(server: str) -> None:
    program = (
        f"import time; from workflows_cli.embedded import {server} as Server; server = Server().start();"
        "print(server.pid, server.log.parent, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, directory = parent.stdout.readline().strip().split(maxsplit=1)
        assert alive(int(pid))
        parent.send_signal(signal.SIGKILL)
    until(lambda: not alive(int(pid)))
    until(lambda: not Path(directory).exists())
