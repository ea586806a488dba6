"""Servers once per session, from the wheels; databases fresh for whoever asks. Nothing is mocked, nothing skipped."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from temporalio.client import Client
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from harness.databases import DatabaseFactory, MigratedDatabase, engine_of
from harness.http_api import http, publish, token_of
from harness.started_workflows import StartedWorkflows
from service_host.leaving import leave
from workflows_cli.embedded import EmbeddedPostgres, EmbeddedTemporal
from workflows_core.launching.launcher import Launcher
from workflows_core.storage.database import Database

# How long an example takes is no matter of tests: this machine has other work.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

_SERVICES = ("TEMPORAL_", "DB_", "WORKFLOW", "LOG_", "HEALTH_", "PG")
_SINGLE = frozenset({"PORT", "http_proxy", "https_proxy", "all_proxy", "grpc_proxy"})


def pytest_configure() -> None:
    """No test depends on the environment of whoever runs it: what our services and clients read is taken out."""
    for name in list(os.environ):
        if name.startswith(_SERVICES) or name in _SINGLE or name.lower() in _SINGLE:
            del os.environ[name]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Here for a run in one process; for a parallel one see the scheduler."""
    if not hasattr(config, "workerinput"):
        _each_once(item.nodeid for item in items)


def _each_once(names: Iterable[str]) -> None:
    """Of two tests with one name a parallel run would do only one, and say nothing."""
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        pytest.exit(f"several tests have one name, give their parameters ids: {', '.join(twice)}", returncode=4)


_ENOUGH_BYTES = 4 * 1024**3
_EXIT_STATUS = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remembers the verdict for the very end."""
    session.config.stash[_EXIT_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the process without the interpreter's own exit, which the Temporal SDK's threads can turn into an abort."""
    # A worker of a parallel run still has to tell the one that started it.
    if _EXIT_STATUS in config.stash and not hasattr(config, "workerinput"):
        leave(config.stash[_EXIT_STATUS])


class _OneByOne(LoadScopeScheduling):  # type: ignore[misc]  # xdist's schedulers are not typed
    """For parallel runs: each test goes where there is room, but for those that share wheels and their environments."""

    def add_node_collection(self, node: Any, collection: list[str]) -> None:
        _each_once(collection)
        super().add_node_collection(node, collection)

    def _split_scope(self, nodeid: str) -> str:
        return "packaging" if "packaging" in nodeid.partition("::")[0].split("/") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _OneByOne:
    """In place of marks for groups, which this pytest's xdist does not see."""
    return _OneByOne(config, log)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The session's PostgreSQL server, in memory where there is enough: on a disk, copying a database takes 0.3 s."""
    memory = Path("/dev/shm")  # noqa: S108 - only a parent, as /var/tmp is
    enough = memory.is_dir() and shutil.disk_usage(memory).free > _ENOUGH_BYTES
    with EmbeddedPostgres(parent=memory if enough else None) as server:
        yield server


@pytest.fixture(scope="session")
def temporal() -> Iterator[EmbeddedTemporal]:
    """The session's Temporal server with its web UI: `.address`, `.http_address`, `.ui_address`, `.namespace`."""
    with EmbeddedTemporal(ui=True) as server:
        yield server


@pytest.fixture(scope="session")
def namespace(temporal: EmbeddedTemporal) -> str:
    """The session's Temporal namespace, with the search attributes of authored runs."""
    return temporal.namespace


@pytest.fixture(scope="session")
def started_workflows() -> StartedWorkflows:
    """What the session's client has started and nobody has ended yet."""
    return StartedWorkflows()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session_client(temporal: EmbeddedTemporal, started_workflows: StartedWorkflows) -> Client:
    """One connection for all tests."""
    return await Client.connect(temporal.address, namespace=temporal.namespace, interceptors=[started_workflows])


@pytest_asyncio.fixture(loop_scope="session")
async def client(session_client: Client, started_workflows: StartedWorkflows) -> AsyncIterator[Client]:
    """A Temporal client of that namespace; what a test starts ends with it, so that no later worker picks it up."""
    yield session_client
    await started_workflows.end(session_client)


@pytest.fixture(scope="session")
def databases(postgres: EmbeddedPostgres) -> DatabaseFactory:
    """For tests that need several databases."""
    return DatabaseFactory(postgres)


@pytest.fixture
def database(databases: DatabaseFactory) -> Iterator[MigratedDatabase]:
    """A fresh migrated database for one test."""
    with databases.fresh() as made:
        yield made


@pytest.fixture(scope="module")
def module_database(databases: DatabaseFactory) -> Iterator[MigratedDatabase]:
    """A fresh migrated database for the tests of one module together."""
    with databases.fresh() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def db(database: MigratedDatabase) -> AsyncIterator[Database]:
    """The test's `database` as processes use it: bound by row-level security."""
    async with engine_of(database.url) as engine:
        yield Database(engine)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def module_db(module_database: MigratedDatabase) -> AsyncIterator[Database]:
    """The module's `module_database` as processes use it."""
    async with engine_of(module_database.url) as engine:
        yield Database(engine)


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that short actions may take together, or what follows a last action, cuts nothing on a busy machine."""
    for module in ("budget", "short_actions", "options", "last_action"):
        monkeypatch.setattr(f"workflows_core.execution.{module}.MAX_ELAPSED_MS", 30_000)


@pytest_asyncio.fixture(loop_scope="session")
async def api(db: Database, client: Client) -> AsyncIterator[httpx.AsyncClient]:
    """As an operator of the tenant, with one published workflow."""
    await publish(db)
    async with http(db, Launcher(db, client), await token_of(db)) as found:
        yield found
