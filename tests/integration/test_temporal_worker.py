"""temporal-worker as a process against a real Temporal server, and its jobs."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from harness.forwarding import Forwarder
from harness.service_process import ended, running
from service_host.ownership import QueueOwnership
from service_host.pollers import pollers_of, pollers_of_all
from service_host.postgres import create_engine, ping_postgres
from service_host.settings import PostgresSettings, load_settings
from temporal_worker.jobs.activities import JobActivities
from temporal_worker.jobs.handlers import JobHandlers, built_in_handlers
from temporal_worker.jobs.records import PostgresJobRecords
from workflows_cli.embedded import EmbeddedPostgres, EmbeddedTemporal

SCRIPT = "temporal-worker"
QUEUES = QueueOwnership.load().queues_of(SCRIPT)
AUTHORED = "workflow-runtime-v2"

pytestmark = pytest.mark.asyncio


@pytest.fixture
def environment(postgres: EmbeddedPostgres, temporal: EmbeddedTemporal) -> Iterator[dict[str, str]]:
    """Variables of a service whose database is empty: neither the authored schema nor its own is there."""
    name, user, password = f"test_{secrets.token_hex(6)}", f"app_{secrets.token_hex(6)}", secrets.token_hex(16)
    postgres.create_database(name)
    with psycopg.connect(postgres.url(name), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'".encode())
    yield {
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": temporal.namespace,
        "DB_HOST": postgres.host,
        "DB_PORT": str(postgres.port),
        "DB_NAME_SERVER": name,
        "DB_USER_SERVER": user,
        "DB_PASSWORD_SERVER": password,
        # Nothing on loopback may go through a proxy.
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "grpc_proxy": "http://127.0.0.1:9",
    }
    postgres.drop_database(name)


@pytest_asyncio.fixture
async def admin(environment: dict[str, str], postgres: EmbeddedPostgres) -> AsyncIterator[psycopg.AsyncConnection]:
    """The superuser in the service's database."""
    url = postgres.url(environment["DB_NAME_SERVER"])
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


def as_admin(environment: dict[str, str], postgres: EmbeddedPostgres) -> dict[str, str]:
    return {**environment, "DB_USER_ADMIN": postgres.user, "DB_PASSWORD_ADMIN": postgres.password}


async def answer_of(client: Client, queue: str) -> dict[str, str]:
    answer: dict[str, str] = await client.execute_workflow(
        "readiness", "hello", id=f"readiness-{secrets.token_hex(6)}", task_queue=queue
    )
    return answer


async def test_each_owned_queue_answers_and_the_authored_one_is_left_alone(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    before = (await pollers_of(client, AUTHORED)).identities()
    async with running(SCRIPT, environment, tmp_path) as process:
        identity = await process.ready()
        answers = await asyncio.gather(*(answer_of(client, queue) for queue in QUEUES))
        assert [(answer["queue"], answer["identity"], answer["message"]) for answer in answers] == [
            (queue, identity, "hello") for queue in QUEUES
        ]
        for pollers in await pollers_of_all(client, QUEUES):
            assert identity in pollers.identities()
            # Workers of other tests in this process have no service's name.
            assert set(pollers.services()) & set(QueueOwnership.load().services()) == {SCRIPT}
        # The server forgets pollers of earlier tests after some minutes; a new one there must not be.
        assert set((await pollers_of(client, AUTHORED)).identities()) <= set(before)

        (banner,) = process.events("process_started")
        assert banner["queues_owned"] == list(QUEUES)
        assert AUTHORED in banner["queues_refused"]
        assert (banner["namespace"], banner["process_identity"]) == (client.namespace, identity)
        assert banner["workflows"] == ["genericJobWorkflow", "readiness"]
        left_alone = {event["queue"]: event["owner"] for event in process.events("queue_not_owned_here")}
        assert left_alone[AUTHORED] == "workflow-worker"

        assert await process.terminate() == 0
        assert process.events("process_stopped")[-1]["exit_code"] == 0


async def test_the_authored_queue_is_refused_at_start(environment: dict[str, str]) -> None:
    wrong = {**environment, "TEMPORAL_TASK_QUEUES": f"alga-jobs,{AUTHORED}"}
    for command in (["run"], ["check", "--offline"]):
        code, _, error = await ended(SCRIPT, *command, environment=wrong)
        assert code == 2
        assert "QUEUE_NOT_OWNED" in error
        assert "belongs to workflow-worker" in error
        assert "queue_ownership.toml" in error
        assert "Traceback" not in error


async def test_a_selection_is_polled_and_nothing_else(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    async with running(SCRIPT, {**environment, "TEMPORAL_TASK_QUEUES": "sla-workflows"}, tmp_path) as process:
        identity = await process.ready()
        polled = [found.queue for found in await pollers_of_all(client, QUEUES) if identity in found.identities()]
        assert polled == ["sla-workflows"]
        assert await process.terminate() == 0


async def test_check_says_what_answers(environment: dict[str, str]) -> None:
    code, output, _ = await ended(SCRIPT, "check", environment=environment)
    assert (code, output.count("ok ")) == (0, 4)
    away = {**environment, "DB_PORT": str(Forwarder("127.0.0.1", 1).port), "TEMPORAL_NAMESPACE": "no-such-namespace"}
    code, output, _ = await ended(SCRIPT, "check", environment=away)
    assert code == 1
    assert "FAILED temporal" in output
    assert "no-such-namespace" in output
    assert "FAILED postgres" in output


async def test_a_job_is_recorded_once_the_schema_is_there_and_the_process_registers(
    environment: dict[str, str],
    admin: psycopg.AsyncConnection,
    postgres: EmbeddedPostgres,
    client: Client,
    tmp_path: Path,
) -> None:
    code, output, error = await ended(SCRIPT, "migrate", environment=as_admin(environment, postgres))
    assert (code, output.strip(), error) == (0, "schema temporal_worker: applied 0001_jobs", "")
    code, output, _ = await ended(SCRIPT, "migrate", environment=as_admin(environment, postgres))
    assert (code, output.strip()) == (0, "schema temporal_worker: current")

    async with running(SCRIPT, environment, tmp_path) as process:
        identity = await process.ready()
        job = {"jobId": "job-1", "jobName": "echo", "tenantId": "tenant-1", "data": {"n": 1}}
        result = await client.execute_workflow(
            "genericJobWorkflow", job, id=f"job-echo-{secrets.token_hex(6)}", task_queue="alga-jobs"
        )
        assert (result["success"], result["jobId"], result["result"]) == (True, "job-1", {"n": 1})
        rows = await (await admin.execute("SELECT tenant, type, status FROM temporal_worker.jobs")).fetchall()
        assert rows == [("tenant-1", "echo", "completed")]
        details = await admin.execute("SELECT step_name, status FROM temporal_worker.job_details ORDER BY created_at")
        assert await details.fetchall() == [("execution_started", "processing"), ("execution_completed", "completed")]
        registered = await admin.execute("SELECT identity, queues, draining FROM temporal_worker.processes")
        assert await registered.fetchall() == [(identity, list(QUEUES), False)]
        assert await process.terminate() == 0
    left = await (await admin.execute("SELECT count(*) FROM temporal_worker.processes")).fetchone()
    assert left == (0,)

    service = psycopg.AsyncConnection.connect(
        host=environment["DB_HOST"],
        port=environment["DB_PORT"],
        dbname=environment["DB_NAME_SERVER"],
        user=environment["DB_USER_SERVER"],
        password=environment["DB_PASSWORD_SERVER"],
    )
    async with await service as connection:
        seen = {}
        for tenant in ("", "tenant-2", "tenant-1"):
            await connection.execute("SELECT set_config('temporal_worker.tenant', %s, true)", (tenant,))
            row = await (await connection.execute("SELECT count(*) FROM temporal_worker.jobs")).fetchone()
            assert row is not None
            seen[tenant] = row[0]
        assert seen == {"": 0, "tenant-2": 0, "tenant-1": 1}
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("INSERT INTO temporal_worker.jobs VALUES ('tenant-2', 'j', 't', 'queued')")


async def test_migrate_without_the_right_to_create_a_schema_is_an_error_not_a_traceback(
    environment: dict[str, str],
) -> None:
    code, _, error = await ended(SCRIPT, "migrate", environment=environment)
    assert code == 1
    assert "permission denied" in error
    assert "; DB_USER_ADMIN and DB_PASSWORD_ADMIN have to name a role that may create a schema" in error
    assert "Traceback" not in error


async def test_migrate_before_the_login_is_there_says_what_makes_it(
    environment: dict[str, str], postgres: EmbeddedPostgres
) -> None:
    early = {**as_admin(environment, postgres), "DB_USER_SERVER": "not_made_yet"}
    code, _, error = await ended(SCRIPT, "migrate", environment=early)
    assert code == 1
    assert 'role "not_made_yet" does not exist; make the service\'s login first: `workflows db create-login' in error
    code, output, _ = await ended(SCRIPT, "migrate", environment=as_admin(environment, postgres))
    assert (code, output.strip()) == (0, "schema temporal_worker: applied 0001_jobs")


async def test_migrate_is_the_admin_s_also_without_a_password_of_his(environment: dict[str, str]) -> None:
    code, _, error = await ended(SCRIPT, "migrate", environment={**environment, "DB_USER_ADMIN": "nobody-here"})
    assert (code, "permission denied" in error, "Traceback" in error) == (1, False, False)


async def test_what_is_not_there_is_waited_for_and_what_goes_away_is_got_over(
    environment: dict[str, str], client: Client, temporal: EmbeddedTemporal, tmp_path: Path
) -> None:
    host, _, port = temporal.address.rpartition(":")
    servers = (Forwarder(host, int(port)), Forwarder(environment["DB_HOST"], int(environment["DB_PORT"])))
    through = {**environment, "TEMPORAL_ADDRESS": servers[0].address, "DB_PORT": str(servers[1].port)}
    async with running(SCRIPT, through, tmp_path) as process:
        body = await process.until(
            "/readyz", 503, lambda body: "waiting for Temporal" in body["parts"]["start"]["detail"]
        )
        assert servers[0].address in body["parts"]["start"]["detail"]
        assert str(servers[1].port) in body["parts"]["postgres"]["detail"]
        assert (await process.get("/livez"))[0] == 200

        for server in servers:
            await server.open()
        identity = await process.ready()
        unreachable = {event["backing_service"]: event for event in process.events("backing_service_unreachable")}
        assert set(unreachable) == {"Temporal", "PostgreSQL"}
        assert servers[0].address in unreachable["Temporal"]["message"]

        for server in servers:
            await server.close()
        body = await process.until("/readyz", 503, lambda body: not body["parts"]["loop:ownership-probe"]["ok"])
        assert not body["parts"]["postgres"]["ok"]
        assert (await process.get("/livez"))[0] == 200

        for server in servers:
            await server.open()
        assert await process.ready() == identity
        assert (await answer_of(client, "tenant-workflows"))["identity"] == identity
        assert await process.terminate() == 0
    for server in servers:
        await server.close()


async def test_an_error_is_gone_from_the_record_once_the_job_is_executed_again(
    environment: dict[str, str], admin: psycopg.AsyncConnection, postgres: EmbeddedPostgres
) -> None:
    await ended(SCRIPT, "migrate", environment=as_admin(environment, postgres))
    engine = create_engine(load_settings(PostgresSettings, environment))
    records, shown = PostgresJobRecords(engine), []
    try:
        for status, metadata in (("failed", {"error": "why"}), ("processing", {}), ("completed", {"rows": 3})):
            await records.set_status("tenant-1", "job-1", "echo", status, metadata)
            found = await (await admin.execute("SELECT status, metadata FROM temporal_worker.jobs")).fetchone()
            shown.append(found)
    finally:
        await engine.dispose()
    assert shown == [("failed", {"error": "why"}), ("processing", {}), ("completed", {"rows": 3})]


async def test_a_job_ends_in_its_record_whatever_its_error_and_its_result_say(
    environment: dict[str, str], admin: psycopg.AsyncConnection, postgres: EmbeddedPostgres
) -> None:
    await ended(SCRIPT, "migrate", environment=as_admin(environment, postgres))
    engine = create_engine(load_settings(PostgresSettings, environment))
    records = PostgresJobRecords(engine)
    try:
        await records.set_status("tenant-1", "job-1", "echo", "failed", {"error": "ValueError: a\x00b\udcff"})
        await records.add_detail("tenant-1", "job-1", "x", "done", "failed", {"\x00": [math.nan, "é\x00", 1.5, True]})
    finally:
        await engine.dispose()
    job = await (await admin.execute("SELECT status, metadata FROM temporal_worker.jobs")).fetchone()
    detail = await (await admin.execute("SELECT result FROM temporal_worker.job_details")).fetchone()
    assert job == ("failed", {"error": "ValueError: a\ufffdb\ufffd"})
    assert detail == ({"\ufffd": [None, "é\ufffd", 1.5, True]},)


async def test_what_the_database_refuses_is_told_without_the_values_of_the_statement(
    environment: dict[str, str],
) -> None:
    engine = create_engine(load_settings(PostgresSettings, environment))
    try:
        async with engine.connect() as connection:
            with pytest.raises(SQLAlchemyError, match="division by zero") as refused:
                await connection.execute(text("SELECT 1 / 0, CAST(:payload AS text)"), {"payload": "a customer's name"})
    finally:
        await engine.dispose()
    assert "a customer's name" not in str(refused.value)


@pytest.mark.timeout(120)
async def test_a_job_runs_beside_a_database_that_hangs(environment: dict[str, str]) -> None:
    between = Forwarder(environment["DB_HOST"], int(environment["DB_PORT"]))
    await between.open()
    settings = load_settings(PostgresSettings, {**environment, "DB_PORT": str(between.port)})
    engine = create_engine(settings)
    try:
        await ping_postgres(engine)
        between.hang()
        jobs = JobActivities(JobHandlers.of(built_in_handlers()), PostgresJobRecords(engine, within_seconds=0.5))
        job = {"jobId": "job-1", "jobName": "echo", "tenantId": "tenant-1", "data": 7}
        assert await ActivityEnvironment().run(jobs.execute_job_handler, job) == {"success": True, "result": 7}
        with pytest.raises(TimeoutError):
            await ActivityEnvironment().run(jobs.update_job_status, {**job, "status": "processing"})
    finally:
        between.flow()
        await engine.dispose()
        await between.close()
