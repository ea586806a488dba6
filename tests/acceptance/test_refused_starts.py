"""Starts that are refused, and backends that are away (FR-2, FR-7, R-1, R-5; holes 36, 40)."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import psycopg
import pytest

from acceptance.conftest import Stack
from harness.databases import MigratedDatabase
from harness.forwarding import Forwarder
from harness.service_process import ended, running
from workflows_cli.embedded import EmbeddedTemporal

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_hole_40_every_wrong_setting_is_listed_masked(stack: Stack) -> None:
    environment = {
        **stack.environment,
        "TEMPORAL_ADDRESS": "nowhere",
        "DB_PORT": "many",
        "DB_PASSWORD_SERVER": "",
        "TEMPORAL_API_KEY": "very-secret-key",
        "TEMPORAL_TLS_CERT": "/does/not/exist",
        "WORKFLOW_RUNTIME_V2_EVENT_BATCH_SIZE": "0",
        "WORKFLOW_RUNTIME_V2_TEMPORAL_TASK_QUEUE": "my-queue",
        "REDIS_HOST": "redis",
        "WORKFLOW_ACTION_PACKS": "no-such-pack",
    }
    with socket.create_server(("127.0.0.1", 0)) as other:
        environment["PORT"] = str(other.getsockname()[1])
        code, output, error = await ended("workflow-worker", "run", environment=environment)
    assert code == 2
    assert "ACTION_PACK_MISSING no-such-pack" in error
    for name in (
        "TEMPORAL_ADDRESS",
        "DB_PORT",
        "DB_PASSWORD_SERVER",
        "TEMPORAL_TLS_CERT",
        "WORKFLOW_RUNTIME_V2_EVENT_BATCH_SIZE",
        "PORT",
    ):
        assert f" {name}: " in error
    assert "SETTING_RETIRED WORKFLOW_RUNTIME_V2_TEMPORAL_TASK_QUEUE" in error
    assert "workflow_publish_event" in error
    assert "very-secret-key" not in output + error
    assert "Traceback" not in output + error


async def test_temporal_worker_refuses_the_authored_queue(stack: Stack) -> None:
    environment = {**stack.environment, "TEMPORAL_TASK_QUEUES": "alga-jobs,workflow-runtime-v2"}
    code, output, error = await ended("temporal-worker", "run", environment=environment)
    assert code == 2
    assert "QUEUE_NOT_OWNED" in error
    assert "belongs to workflow-worker" in error
    assert "queue_ownership.toml" in error
    assert "Traceback" not in output + error


async def test_what_waiting_does_not_change_ends_the_start(
    temporal: EmbeddedTemporal, database: MigratedDatabase, stack: Stack
) -> None:
    where = {**database.environment, "TEMPORAL_ADDRESS": temporal.address, "PORT": "0"}
    own = {**stack.environment, "PORT": "0"}
    wrong = (
        ("workflow-worker", {**where, "TEMPORAL_NAMESPACE": "nowhere"}, "namespace nowhere"),
        ("temporal-worker", {**where, "TEMPORAL_NAMESPACE": "nowhere"}, "namespace nowhere"),
        ("workflow-worker", {**own, "DB_NAME_SERVER": "nodb"}, "nodb"),
        ("workflow-worker", {**own, "DB_PASSWORD_SERVER": "wrong"}, "authentication failed"),
    )
    ends = await asyncio.gather(*(ended(program, "run", environment=given) for program, given, _ in wrong))
    for (program, _, text), (code, output, error) in zip(wrong, ends, strict=True):
        said = output + error
        assert (code, "BACKING_SERVICE_REFUSED" in said, text in said, "Traceback" in said) == (2, True, True, False), (
            program,
            said,
        )


async def test_check_says_what_is_wrong_and_what_is_well(stack: Stack) -> None:
    code, output, _ = await ended("workflow-worker", "check", environment=stack.environment)
    assert (code, "FAILED" in output) == (0, False)
    assert "ok     schema" in output
    other = {**stack.environment, "DB_NAME_SERVER": "postgres"}
    code, output, _ = await ended("workflow-worker", "check", environment=other)
    assert code == 1
    assert "workflows db upgrade" in output


async def test_backends_that_come_late_go_and_come_back(
    temporal: EmbeddedTemporal, database: MigratedDatabase, tmp_path: Path
) -> None:
    host, _, port = temporal.address.rpartition(":")
    postgres = Forwarder(database.host, database.port)
    frontend = Forwarder(host, int(port))
    environment = {
        **database.environment,
        "DB_PORT": str(postgres.port),
        "TEMPORAL_ADDRESS": frontend.address,
        "TEMPORAL_NAMESPACE": temporal.namespace,
    }
    async with running("workflow-worker", environment, tmp_path) as worker:
        waiting = await worker.until("/readyz", 503, lambda body: "PostgreSQL" in body["parts"]["start"]["detail"])
        assert str(postgres.port) in waiting["parts"]["start"]["detail"]
        assert (await worker.get("/livez"))[0] == 200
        await postgres.open()
        waiting = await worker.until("/readyz", 503, lambda body: "Temporal" in body["parts"]["start"]["detail"])
        assert frontend.address in waiting["parts"]["start"]["detail"]
        await frontend.open()
        await worker.ready()
        await postgres.close()
        lost = await worker.until("/readyz", 503)
        assert not lost["parts"]["database:schema"]["ok"]
        assert (await worker.get("/livez"))[0] == 200
        await postgres.open()
        await worker.ready()
        assert await worker.terminate() == 0
        await frontend.close()
        await postgres.close()
    assert "Traceback" not in worker.log.read_text(encoding="utf-8")


async def test_a_schema_that_is_behind_is_told_and_needs_no_restart(
    temporal: EmbeddedTemporal, database: MigratedDatabase, tmp_path: Path
) -> None:
    where = {"TEMPORAL_ADDRESS": temporal.address, "TEMPORAL_NAMESPACE": temporal.namespace}
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        (current,) = admin.execute("SELECT version_num FROM workflow_schema_revision").fetchone() or ("",)
        admin.execute("UPDATE workflow_schema_revision SET version_num = '0001'")
        async with running("workflow-worker", {**database.environment, **where}, tmp_path) as worker:
            told = await worker.until(
                "/readyz", 503, lambda body: not body["parts"].get("database:schema", {"ok": True})["ok"]
            )
            assert "the schema is at 0001, this build needs" in told["parts"]["database:schema"]["detail"]
            assert "workflows db upgrade" in told["parts"]["database:schema"]["detail"]
            admin.execute("UPDATE workflow_schema_revision SET version_num = %s", (current,))
            await worker.ready()
            assert await worker.terminate() == 0
