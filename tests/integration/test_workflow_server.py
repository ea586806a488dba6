"""workflow-server as a process: before it has begun, and what its check looks at."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from harness.databases import MigratedDatabase
from harness.forwarding import Forwarder
from harness.service_process import ended, running
from workflows_cli.embedded import EmbeddedTemporal
from workflows_cli.migrations.upgrade import create_login

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_server_that_still_waits_for_temporal_says_so(
    database: MigratedDatabase, temporal: EmbeddedTemporal, tmp_path: Path
) -> None:
    host, _, port = temporal.address.rpartition(":")
    between = Forwarder(host, int(port))
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        api_port = str(reserved.getsockname()[1])
    environment = {
        **database.environment,
        "TEMPORAL_ADDRESS": between.address,
        "TEMPORAL_NAMESPACE": temporal.namespace,
        "WORKFLOW_SERVER_PORT": api_port,
    }
    async with running("workflow-server", environment, tmp_path) as process:
        await process.until("/readyz", 503, lambda body: "Temporal" in body["parts"]["start"]["detail"])
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{api_port}", trust_env=False) as http:
            waiting = await http.get("/v1/runs", timeout=5)
            await between.open()
            await process.ready()
            served = await http.get("/v1/runs", timeout=5)
        assert await process.terminate() == 0
    await between.close()
    assert (waiting.status_code, waiting.json()["code"]) == (503, "SERVICE_STARTING")
    assert waiting.headers["retry-after"] == "5"
    assert (served.status_code, served.json()["code"]) == (401, "TOKEN_MISSING")


async def test_check_looks_at_everything_that_readiness_looks_at(
    database: MigratedDatabase, temporal: EmbeddedTemporal
) -> None:
    where = {"TEMPORAL_ADDRESS": temporal.address, "TEMPORAL_NAMESPACE": temporal.namespace}
    code, output, _ = await ended("workflow-server", "check", environment={**database.environment, **where})
    assert [line[:6] for line in output.splitlines()] == ["ok    "] * len(output.splitlines())
    names = [line[7:].partition(":")[0] for line in output.splitlines()]
    assert (code, names) == (0, ["settings", "ownership", "temporal", "postgres", "schema", "search attributes"])
    unprepared = {**where, "TEMPORAL_NAMESPACE": "temporal-system"}
    code, output, _ = await ended("workflow-server", "check", environment={**database.environment, **unprepared})
    assert (code, "FAILED search attributes: namespace temporal-system lacks" in output) == (1, True)


@pytest.mark.parametrize("service", ["workflow-worker", "temporal-worker"])
async def test_a_login_of_another_service_is_told_before_a_request_is_made_with_it(
    database: MigratedDatabase, temporal: EmbeddedTemporal, tmp_path: Path, service: str
) -> None:
    login = f"of_{service.replace('-', '_')}"
    create_login(database.admin_url, login, "p", service)
    where = {
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": temporal.namespace,
        "WORKFLOW_SERVER_PORT": "0",
    }
    environment = {**database.environment, **where, "DB_USER_SERVER": login, "DB_PASSWORD_SERVER": "p"}
    code, output, error = await ended("workflow-server", "check", environment=environment)
    assert (code, error) == (1, "")
    told = "the login may not use the schema as this process does: DB_USER_SERVER has to be one of"
    assert f"FAILED schema: {told}" in output
    async with running("workflow-server", environment, tmp_path) as process:
        await process.until("/readyz", 503, lambda body: told in str(body["parts"].get("database:schema")))
