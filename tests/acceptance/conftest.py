"""A Temporal server and both workers of their own, so that pollers of other tests are not listed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import Client

from harness.databases import DatabaseFactory, MigratedDatabase
from harness.service_process import ServiceProcess, running
from workflows_cli.embedded import EmbeddedTemporal

TENANT = "acme"


@dataclass(frozen=True)
class Stack:
    """The processes of an installation, and how to reach them."""

    temporal: EmbeddedTemporal
    database: MigratedDatabase
    environment: dict[str, str]
    client: Client
    workflow_worker: ServiceProcess
    temporal_worker: ServiceProcess


@pytest.fixture(scope="package")
def own_temporal() -> Iterator[EmbeddedTemporal]:
    """A Temporal server that only real processes poll."""
    with EmbeddedTemporal(ui=True) as server:
        yield server


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def stack(
    own_temporal: EmbeddedTemporal, databases: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """Both workers as real console scripts, ready."""
    directory: Path = tmp_path_factory.mktemp("stack")
    async with AsyncExitStack() as held:
        database = held.enter_context(databases.fresh())
        environment = {
            **database.environment,
            "TEMPORAL_ADDRESS": own_temporal.address,
            "TEMPORAL_NAMESPACE": own_temporal.namespace,
            "WORKFLOWS_TENANT": TENANT,
        }
        authored = await held.enter_async_context(running("workflow-worker", environment, directory))
        domain = await held.enter_async_context(running("temporal-worker", environment, directory))
        await authored.ready()
        await domain.ready()
        client = await Client.connect(own_temporal.address, namespace=own_temporal.namespace)
        yield Stack(own_temporal, database, environment, client, authored, domain)
