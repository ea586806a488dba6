"""What `workflows` refuses of an operator's commands, and what it says of those it takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.authored import TENANT
from harness.databases import MigratedDatabase
from harness.interpreted import document, wait
from harness.operator import publish, refused, workflows
from harness.run_records import rows
from harness.service_process import ended
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.storage.database import Database

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


@pytest.fixture
def environment(database: MigratedDatabase, temporal: EmbeddedTemporal) -> dict[str, str]:
    """An installation without any worker."""
    return {
        **database.environment,
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": temporal.namespace,
        "WORKFLOWS_TENANT": TENANT,
    }


async def said(environment: dict[str, str], *arguments: str) -> str:
    """The text of a command that must succeed."""
    code, output, error = await ended("workflows", *arguments, environment=environment)
    assert code == 0, output + error
    return output


async def test_a_run_id_that_is_used_starts_nothing_else(
    environment: dict[str, str], db: Database, tmp_path: Path
) -> None:
    await publish(environment, {**document(wait()), "id": "orders"}, tmp_path)
    await publish(environment, {**document(wait()), "id": "refunds"}, tmp_path)
    start = ("runs", "start", "orders", "--run-id", "r1", "--payload")
    payload = tmp_path / "payload.json"
    payload.write_text('{"id": "k1"}', encoding="utf-8")
    assert "started run r1" in await said(environment, *start, f"@{payload}")
    assert "run r1 was started before: it is RUNNING" in await said(environment, *start, '{"id": "k1"}')
    assert "RUN_ID_TAKEN at runId" in await refused(environment, *start, '{"id": "k2"}')
    other_version = ("--version", "7")
    assert "RUN_ID_TAKEN at runId" in await refused(environment, *start, '{"id": "k1"}', *other_version)
    other = ("runs", "start", "refunds", "--run-id", "r1", "--payload", '{"id": "k1"}')
    assert "RUN_ID_TAKEN at runId" in await refused(environment, *other)
    (row,) = await rows(db, "workflow_runs")
    assert row["input_json"] == {"id": "k1"}

    (listed,) = await workflows(environment, "runs", "list", "--workflow", "orders")
    assert listed["runId"] == "r1"
    (by_id,) = await workflows(environment, "runs", "list", "--workflow", listed["workflowId"])
    assert by_id == listed
    assert "did you mean 'orders'" in await refused(environment, "runs", "list", "--workflow", "ordrs")
    assert "WORKFLOW_UNKNOWN" in await refused(environment, "schedules", "list", "--workflow", "nowhere")


async def test_reasons_that_say_nothing_are_refused(environment: dict[str, str], db: Database) -> None:
    assert "CANCEL_REASON_MISSING at --reason" in await refused(environment, "runs", "cancel", "r1", "--reason", "  ")
    assert "REASON_MISSING at --reason" in await refused(environment, "runs", "replay", "r1", "--reason", "")
    redrive = ("runs", "redrive", "r1", "--from", "s0")
    assert "REASON_MISSING at --reason" in await refused(environment, *redrive, "--reason", "    ")
    assert "REASON_MISSING at --reason" in await refused(environment, *redrive)
    assert "RUN_NOT_FOUND" in await refused(environment, *redrive, "--dry-run")


async def test_a_backfill_is_for_the_past(environment: dict[str, str]) -> None:
    to_come = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    message = await refused(environment, "schedules", "backfill", "x", "--from", "2020-01-01", "--until", to_come)
    assert "OPTION_NOT_FITTING at --until: must not be after now" in message
    message = await refused(environment, "schedules", "backfill", "x", "--from", "2020-01-01", "--until", "2020-01-02")
    assert "SCHEDULE_NOT_FOUND" in message


async def test_why_the_database_cannot_be_used_is_said_with_its_address(environment: dict[str, str]) -> None:
    where = f"PostgreSQL at 127.0.0.1:{environment['DB_PORT']}/{environment['DB_NAME_SERVER']}"
    message = await refused({**environment, "DB_PASSWORD_SERVER": "wrong"}, "runs", "list")
    assert f"DATABASE_UNAVAILABLE: {where} cannot be used:" in message
    assert "password authentication failed" in message
    assert "wrong" not in message
    (code, _, error) = await ended(
        *("workflows", "db", "upgrade", "--url", f"postgresql://nobody:x@127.0.0.1:{environment['DB_PORT']}/nothing"),
        environment={},
    )
    assert (code, "password authentication failed" in error, "Traceback" in error) == (1, True, False)
