"""What `workflows` refuses of an operator's commands, and what it says of those it takes."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, RemoveSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from harness.authored import TENANT, authored_runtime
from harness.ingress import ingress
from harness.interpreted import document, wait
from harness.operator import command, publish, refused, workflows
from harness.run_records import rows
from harness.scheduled import HOURLY, created, following, published, row_of, until
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.launching.readiness import SearchAttributesCheck, registered_types
from workflows_core.schedules.days import read_calendars
from workflows_core.storage.database import Database
from workflows_core.storage.events import publish_event
from workflows_core.storage.schedules import change_schedule, store_calendar
from workflows_core.wire.names import SEARCH_PARENT, SEARCH_TENANT, SEARCH_VERSION, SEARCH_WORKFLOW

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


def utc(moment: datetime | None) -> str:
    """As people are told of it."""
    assert moment is not None
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def said(environment: dict[str, str], *arguments: str) -> str:
    """The text of a command that must succeed."""
    code, output, error = await command(environment, *arguments)
    assert code == 0, output + error
    return output


async def test_a_run_id_that_is_used_starts_nothing_else(
    environment: dict[str, str], db: Database, tmp_path: Path
) -> None:
    await publish(environment, {**document(wait()), "id": "orders"}, tmp_path)
    await publish(environment, {**document(wait()), "id": "refunds"}, tmp_path)
    start = ("runs", "start", "orders", "--run-id", "used-id", "--payload")
    payload = tmp_path / "payload.json"
    payload.write_text('{"id": "k1"}', encoding="utf-8")
    assert "started run used-id" in await said(environment, *start, f"@{payload}")
    assert "run used-id was started before: it is RUNNING" in await said(environment, *start, '{"id": "k1"}')
    assert "RUN_ID_TAKEN at runId" in await refused(environment, *start, '{"id": "k2"}')
    other_version = ("--version", "7")
    assert "RUN_ID_TAKEN at runId" in await refused(environment, *start, '{"id": "k1"}', *other_version)
    other = ("runs", "start", "refunds", "--run-id", "used-id", "--payload", '{"id": "k1"}')
    assert "RUN_ID_TAKEN at runId" in await refused(environment, *other)
    (row,) = await rows(db, "workflow_runs")
    assert row["input_json"] == {"id": "k1"}

    (listed,) = await workflows(environment, "runs", "list", "--workflow", "orders")
    assert listed["runId"] == "used-id"
    (by_id,) = await workflows(environment, "runs", "list", "--workflow", listed["workflowId"])
    assert by_id == listed
    assert "did you mean 'orders'" in await refused(environment, "runs", "list", "--workflow", "ordrs")
    assert "WORKFLOW_UNKNOWN" in await refused(environment, "schedules", "list", "--workflow", "nowhere")


async def test_reasons_that_say_nothing_are_refused(environment: dict[str, str]) -> None:
    assert "CANCEL_REASON_MISSING at --reason" in await refused(environment, "runs", "cancel", "r1", "--reason", "  ")
    assert "REASON_MISSING at --reason" in await refused(environment, "runs", "replay", "r1", "--reason", "")


async def test_a_backfill_is_for_the_past(environment: dict[str, str]) -> None:
    to_come = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    message = await refused(environment, "schedules", "backfill", "x", "--from", "2020-01-01", "--until", to_come)
    assert "OPTION_NOT_FITTING at --until: must not be after now" in message
    message = await refused(environment, "schedules", "backfill", "x", "--from", "2020-01-01", "--until", "2020-01-02")
    assert "SCHEDULE_NOT_FOUND" in message


async def test_a_firing_that_is_left_out_is_told_of(environment: dict[str, str], db: Database, client: Client) -> None:
    await published(db, wait("PAID", "'k'"))
    async with following(db, client) as (_, sync), ingress(db, client):
        row = await created(db, HOURLY)
        await sync.one_pass()
        trigger = ("schedules", "trigger", row.id)
        assert f"schedule {row.id} fires now" in await said(environment, *trigger)
        await until(db, row.id, "launched")
        (run,) = [run for run in await rows(db, "workflow_runs") if run["trigger_fire_key"] is not None]
        message = await refused(environment, *trigger)
        assert f"SCHEDULE_RUN_OPEN at scheduleId: run {run['run_id']} is open: with overlap skip" in message
        await client.get_schedule_handle(row.runner_schedule_id).trigger()
        while (shown := await workflows(environment, "schedules", "show", row.id))["skippedOverlap"] < 1:
            await asyncio.sleep(0.05)
        assert (shown["lastRunStatus"], shown["openRunId"], shown["missed"]) == ("launched", run["run_id"], 0)
        (listed,) = await workflows(environment, "schedules", "list")
        assert (listed["skippedOverlap"], listed["missed"]) == (1, 0)
        alone = {**environment, "TEMPORAL_ADDRESS": "127.0.0.1:1"}
        (listed,) = await workflows(alone, "schedules", "list")
        assert (listed["id"], listed["skippedOverlap"]) == (row.id, None)
        assert "skipped and missed firings are not known: " in await said(alone, "schedules", "list")
        async with db.tenant(TENANT) as conn:
            await publish_event(conn, tenant=TENANT, event_id="e1", event_name="PAID", correlation_key="k")
        while (await command(environment, *trigger))[0] != 0:
            await asyncio.sleep(0.05)


async def test_a_firing_by_hand_that_would_start_no_run_is_refused(
    environment: dict[str, str], db: Database, client: Client
) -> None:
    """It said that it fires; only the schedule's row said that nothing was started."""
    await published(db, wait("PAID", "'k'"))
    async with following(db, client) as (_, sync):
        row = await created(db, HOURLY)
        beside = await created(db, replace(HOURLY, overlap="allow_all"))
        await sync.one_pass()
        backfill = ("backfill", row.id, "--from", "2024-01-01", "--until", "2024-01-01T02:00:00")
        await workflows(environment, "definitions", "pause", row.workflow_id)
        for asked in (("trigger", row.id), backfill):
            assert "WORKFLOW_PAUSED at workflow: " in await refused(environment, "schedules", *asked)
        await workflows(environment, "definitions", "resume", row.workflow_id)
        await workflows(environment, "definitions", "limit", row.workflow_id, "1")
        await said(environment, "schedules", "trigger", beside.id)
        await until(db, beside.id, "launched")
        for asked in (("trigger", row.id), ("trigger", beside.id), backfill):
            message = await refused(environment, "schedules", *asked)
            assert "CONCURRENCY_LIMIT_REACHED at workflow: 1 run(s)" in message
        assert (await row_of(db, row.id)).last_fire_at is None, "nothing was fired"


async def test_a_firing_by_hand_on_a_day_that_is_left_out_is_refused(
    environment: dict[str, str], db: Database, client: Client
) -> None:
    """It said that it fires, and nothing was started."""
    await published(db)
    async with following(db, client) as (_, sync):
        async with db.tenant(TENANT) as conn:
            await store_calendar(conn, read_calendars({"main": {"timezone": "UTC", "hours": {}, "default": True}})[0])
        row = await created(db, replace(HOURLY, days="business"))
        other = await created(db, replace(HOURLY, days="non_business"))
        await sync.one_pass()
        message = await refused(environment, "schedules", "trigger", row.id)
        assert "SCHEDULE_DAY_LEFT_OUT at scheduleId: today is no business day" in message
        assert f"schedule {other.id} fires now" in await said(environment, "schedules", "trigger", other.id)


async def test_an_import_does_not_take_the_default_calendar_away_from_schedules_that_go_by_it(
    environment: dict[str, str], db: Database, client: Client, tmp_path: Path
) -> None:
    """Each of them failed when it fired next, and `show` did not show them any more."""
    await published(db)
    file = tmp_path / "calendars.json"
    import_ = ("calendars", "import", str(file))
    week = {"timezone": "UTC", "hours": {"monday": [["09:00", "17:00"]]}}

    async def imported(**calendars: Any) -> list[str]:
        file.write_text(json.dumps(calendars))
        await workflows(environment, *import_)
        return [row["scheduleId"] for row in await workflows(environment, "calendars", "list") if row["isDefault"]]

    async with following(db, client) as (_, sync):
        assert await imported(main={**week, "default": True}) == ["main"]
        assert await imported(main=week) == [], "nothing goes by it"
        assert await imported(main={**week, "default": True}) == ["main"]
        row = await created(db, replace(HOURLY, days="business"))
        await created(db, replace(HOURLY, days="business", calendar="main"))
        await sync.one_pass()
        file.write_text(json.dumps({"main": {**week, "holidays": ["12-25"]}}))
        message = await refused(environment, *import_)
        assert "CALENDAR_INVALID at main.default: it is the tenant's default, and the day filters of 1 sch" in message
        assert row.id in message
        (kept,) = await workflows(environment, "calendars", "list")
        assert (kept["isDefault"], kept["holidays"]) == (True, [])
        assert await imported(main=week, other={**week, "default": True}) == ["other"]
        assert len((await workflows(environment, "schedules", "show", row.id))["next"]) == 5
        async with db.tenant(TENANT) as conn:
            await conn.exec_driver_sql("UPDATE business_hours_schedules SET is_default = false")
        shown = await workflows(environment, "schedules", "show", row.id)
        assert (shown["status"], shown["next"]) == ("scheduled", None)
        assert shown["nextUnknown"].startswith("BUSINESS_HOURS_SCHEDULE_REQUIRED: ")


async def test_what_is_wrong_with_a_new_schedule_is_told_by_its_options(
    environment: dict[str, str], db: Database
) -> None:
    await published(db)
    create = ("schedules", "create", "w", "--name")
    message = await refused(environment, *create, "", "--cron", "0 9 * * MON", "--timezone", "Mars/One")
    for said_so in ("INVALID at name: must be 1", "_CRON at cron: holds 'M N O'", "_TIMEZONE at timezone: 'Mars/One'"):
        assert said_so in message
    assert "_RUN_AT at runAt: " in await refused(environment, *create, "n", "--at", "2099-01-01")


async def test_a_schedule_that_temporal_refuses_is_not_told_as_done(
    environment: dict[str, str], db: Database, client: Client
) -> None:
    """Its zone is one that Temporal does not know, such as one that is newer than Temporal."""
    await published(db)
    async with following(db, client):
        row = await created(db, HOURLY)
        async with db.tenant(TENANT) as conn:
            await conn.exec_driver_sql("UPDATE tenant_workflow_schedule SET timezone = 'Mars/One'")
        code, output, _ = await command(environment, "schedules", "resume", row.id)
        assert (code, "which is failed: Temporal refused it: " in output) == (1, True)
        code, output, _ = await command(environment, "schedules", "resume", row.id, "--format", "json")
        assert (code, json.loads(output)["inTemporal"]) == (1, False)
        assert (await workflows(environment, "schedules", "delete", row.id))["inTemporal"] is True


async def test_a_firing_that_waits_for_the_open_run_is_told_of(
    environment: dict[str, str], db: Database, client: Client
) -> None:
    await published(db, wait("PAID", "'k'"))
    async with following(db, client) as (_, sync):
        row = await created(db, replace(HOURLY, overlap="buffer_one"))
        await sync.one_pass()
        trigger = ("schedules", "trigger", row.id)
        await said(environment, *trigger)
        await until(db, row.id, "launched")
        assert f"schedule {row.id} fires when its open run has ended" in await said(environment, *trigger)
        assert "with overlap buffer_one this firing would be left out" in await refused(environment, *trigger)


@pytest.mark.parametrize(
    ("since", "to", "found"),
    [
        ("2024-01-01T00:00:01", "2024-01-01T00:59:59", False),
        ("2024-01-01T01:00:00", "2024-01-01T01:00:00", True),
        ("2024-01-01T00:00:01", "2024-01-01T01:00:00", True),
        ("2024-01-01T01:00:00", "2024-01-01T01:59:59", True),
        ("2024-01-06", "2024-01-07T23:59:59", False),
    ],
)
async def test_a_backfill_says_whether_the_schedule_has_a_time_then(
    environment: dict[str, str], db: Database, client: Client, since: str, to: str, found: bool
) -> None:
    """From Saturday to Sunday the day filter leaves every time out."""
    await published(db)
    week = {day: [["09:00", "17:00"]] for day in ("monday", "tuesday", "wednesday", "thursday", "friday")}
    calendar = {"timezone": "UTC", "hours": week, "holidays": [], "default": True}
    async with following(db, client) as (_, sync):
        async with db.tenant(TENANT) as conn:
            (read,) = read_calendars({"main": calendar})
            await store_calendar(conn, read)
        row = await created(db, replace(HOURLY, days="business"))
        await sync.one_pass()
        answer = await workflows(environment, "schedules", "backfill", row.id, "--from", since, "--until", to)
        assert answer["backfilled"] is found
        if found:
            await until(db, row.id, "SUCCEEDED")
        else:
            text = await said(environment, "schedules", "backfill", row.id, "--from", since, "--until", to)
            assert f"schedule {row.id} has no time from 2024-01-0" in text
            assert "Z to 2024-01-0" in text, "the times cannot be given to an option as they are told"
    assert any(run["trigger_fire_key"] for run in await rows(db, "workflow_runs")) is found


async def test_a_paused_schedule_makes_up_for_the_past_and_a_failed_one_says_that_it_launches_nothing(
    environment: dict[str, str], db: Database, client: Client
) -> None:
    """A failed one was said to fire, and nothing came of it."""
    await published(db)
    span = ("--from", "2024-01-01T00:00:00", "--until", "2024-01-01T02:00:00")
    async with following(db, client) as (_, sync):
        row = await created(db, HOURLY)
        await sync.one_pass()
        await workflows(environment, "schedules", "pause", row.id)
        assert (await workflows(environment, "schedules", "backfill", row.id, *span))["backfilled"]
        while [run["status"] for run in await rows(db, "workflow_runs")] != ["SUCCEEDED"] * 3:
            await asyncio.sleep(0.05)
        assert (await row_of(db, row.id)).status == "paused"
        async with db.tenant(TENANT) as conn:
            await change_schedule(conn, row.id, enabled=False, status="failed", error="no calendar")
        said_so = "SCHEDULE_FAILED at scheduleId: it is failed and launches nothing: no calendar; mend that"
        for asked in (("trigger", row.id), ("backfill", row.id, *span)):
            assert said_so in await refused(environment, "schedules", *asked)


async def namespace_with(client: Client, attributes: dict[str, IndexedValueType.ValueType]) -> str:
    """A namespace of its own that has these search attributes."""
    name = f"prepared-{uuid.uuid4().hex}"
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=Duration(seconds=86_400))
    )
    request = AddSearchAttributesRequest(namespace=name, search_attributes=attributes)
    while True:
        # The server knows a new namespace after a while.
        try:
            await client.operator_service.add_search_attributes(request)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            await asyncio.sleep(0.1)
        else:
            return name


async def test_a_search_attribute_of_another_type_is_told_with_what_mends_it(
    environment: dict[str, str], client: Client, temporal: EmbeddedTemporal
) -> None:
    """Setup and check said that all were registered, and each start said to run setup."""
    name = await namespace_with(client, {SEARCH_VERSION: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD})
    theirs = {**environment, "TEMPORAL_NAMESPACE": name}
    there = await Client.connect(temporal.address, namespace=name)
    wrong = "WorkflowVersion is of type Keyword and has to be Int: remove it in Temporal"
    while not await registered_types(there):
        await asyncio.sleep(0.1)
    assert (await refused(theirs, "setup")).startswith(f"error SEARCH_ATTRIBUTE_TYPE_WRONG: namespace {name}: {wrong}")
    others = dict.fromkeys((SEARCH_PARENT, SEARCH_TENANT, SEARCH_WORKFLOW), IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
    await there.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=name, search_attributes=others)
    )
    check = SearchAttributesCheck(there)
    while "lacks" in (verdict := await check())[1]:
        await asyncio.sleep(0.1)
    assert verdict[0] is False
    assert wrong in verdict[1]
    await there.operator_service.remove_search_attributes(
        RemoveSearchAttributesRequest(namespace=name, search_attributes=[SEARCH_VERSION])
    )
    while (await check())[1] != f"namespace {name} lacks WorkflowVersion; run `workflows setup`":
        await asyncio.sleep(0.1)
    assert (await workflows(theirs, "setup"))["registered"] == ["WorkflowVersion"]
    while not (await check())[0]:
        await asyncio.sleep(0.1)


async def test_what_temporal_refuses_is_told_with_its_words(environment: dict[str, str], client: Client) -> None:
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    name = await namespace_with(client, {f"Taken{number}": keyword for number in range(10)})
    message = await refused({**environment, "TEMPORAL_NAMESPACE": name}, "setup")
    assert message.startswith("error TEMPORAL_REFUSED: Temporal refuses: INVALID_ARGUMENT: ")
    assert "cannot have more than 10 search attribute of type Keyword" in message


async def test_a_window_that_ends_before_it_begins_is_refused(environment: dict[str, str]) -> None:
    window = ("--from", "2026-11-30", "--until", "2026-11-29T12:00:00Z")
    for arguments in (("events", "replay"), ("events", "count"), ("schedules", "backfill", "x")):
        message = await refused(environment, *arguments, *window)
        assert "OPTION_NOT_FITTING at --until: must not be before --from, which is 2026-11-30T00:00:00Z" in message
    assert "must not be before --from" in await refused(environment, "events", "count", "--until", "2026-11-01")


async def test_arguments_that_are_no_text_are_refused(environment: dict[str, str]) -> None:
    alien = "no-\udcff"
    for arguments in (("runs", "show", alien), ("events", "show", alien), ("runs", "list", "--tenant", alien)):
        message = await refused(environment, *arguments, code=2)
        assert message == "error ARGUMENT_NOT_TEXT: the argument 'no-\\udcff' is not UTF-8 text\n"
    assert "FILE_NOT_READABLE" in await refused(environment, "definitions", "import", alien)
    assert "EVENT_INVALID at eventName: must be UTF-8 text" in await refused(environment, "events", "publish", alien)


async def test_options_that_would_do_what_nobody_meant_are_refused(environment: dict[str, str], tmp_path: Path) -> None:
    for options in ((), ("--anybody", "--role", "finance")):
        assert "OPTION_NOT_FITTING at --user" in await refused(environment, "tasks", "assign", "t1", *options)
    for option, name in (("--user", ""), ("--role", " ")):
        message = await refused(environment, "tasks", "assign", "t1", "--user", "ann", option, name)
        assert f"OPTION_NOT_FITTING at {option}: is blank" in message
    answer = tmp_path / "answer.json"
    for text, said_so in (('{"approved": true}', "TASK_NOT_FOUND at taskId"), ("yes", f"NOT_JSON at {answer}")):
        answer.write_text(text, encoding="utf-8")
        assert said_so in await refused(environment, "tasks", "answer", "t1", f"@{answer}")
    assert "OPTION_NOT_FITTING at --as: is blank" in await refused(environment, "tasks", "claim", "t1", "--as", "")
    assert "TASK_NOT_FOUND" in await refused(environment, "tasks", "assign", "t1", "--anybody")
    event = ("events", "publish", "SEEN", "--schema", "payload.Nope.v1")
    assert "PAYLOAD_SCHEMA_REF_UNKNOWN at payloadSchemaRef" in await refused(environment, *event)
    assert await workflows(environment, "events", "list") == []
    path = tmp_path / "one.json"
    path.write_text(json.dumps(document(wait())), encoding="utf-8")
    assert "OPTION_NOT_FITTING at --workflow" in await refused({}, "simulate", str(path), "--workflow", "other")
    taken = ("simulate", str(path), "--workflow", "wf", "--payload", '{"id": "k1"}')
    assert (await workflows({}, *taken))["status"] == "paused-at-wait"


async def test_a_run_is_shown_with_what_an_operator_needs(
    environment: dict[str, str], db: Database, client: Client
) -> None:
    fail = {"actionId": "test.fail", "version": 1, "inputMapping": {"category": "ActionError"}}
    give = {"type": "control.return", "value": {"$expr": "{'token': 'hidden', 'total': 3}"}}
    async with authored_runtime(db, client) as authored, ingress(db, client):
        failed = await authored.start(document({"type": "action.call", "config": fail}))
        strict = await authored.start(
            document({"type": "transform.assign", "config": {"assign": {"vars.x": {"$expr": "$number('x')"}}}})
        )
        given = await authored.start(document(give))
        waiting = await authored.start(document(wait()), {"id": "k1"})
        await failed.until("FAILED")
        await strict.until("FAILED")
        await given.until("SUCCEEDED")
        (opened,) = (await waiting.until("WAITING")).waits
        open_wait = await said(environment, "runs", "show", waiting.run_id)
        timed = await authored.start(document(wait(timeoutMs=86_400_000)), {"id": "k2"})
        (bounded,) = (await timed.until("WAITING")).waits
        timed_wait = await said(environment, "runs", "show", timed.run_id)
        async with db.tenant(TENANT) as conn:
            await publish_event(conn, tenant=TENANT, event_id="e1", event_name="PAID", correlation_key="k1")
        await waiting.until("SUCCEEDED")
    assert f"PAID with key k1 since {utc(opened.created_at)}, without a time-out" in open_wait
    assert f"PAID with key k2 since {utc(bounded.created_at)} until {utc(bounded.timeout_at)}" in timed_wait
    ended = (await failed.timeline()).run
    shown = await said(environment, "runs", "show", failed.run_id)
    assert f"started {utc(ended.started_at)}, ended {utc(ended.completed_at)}" in shown
    assert "error ActionError at root.steps[0]: as it should" in shown
    assert "error ExpressionError EXPRESSION_FAILED at root.steps[0]" in await said(
        environment, "runs", "show", strict.run_id
    )
    assert 'result {"token": "[REDACTED]", "total": 3}' in await said(environment, "runs", "show", given.run_id)
    assert opened.wait_id in await said(environment, "runs", "show", waiting.run_id)
    assert f"run {waiting.run_id} consumed" in await said(environment, "events", "list")


async def test_a_run_that_is_started_again_is_answered_as_one_that_is_started(
    environment: dict[str, str], db: Database, client: Client
) -> None:
    fail = {"actionId": "test.fail", "version": 1, "inputMapping": {"category": "ActionError"}}
    steps = document(wait(), {"type": "action.call", "config": fail})
    why = ("--reason", "the answer was lost")
    async with authored_runtime(db, client) as authored, ingress(db, client):
        run = await authored.start({**steps, "onConcurrencyLimit": "wait"}, {"id": "k1"})
        await run.until("WAITING")
        async with db.tenant(TENANT) as conn:
            await publish_event(conn, tenant=TENANT, event_id="e1", event_name="PAID", correlation_key="k1")
            await conn.exec_driver_sql("UPDATE workflow_definitions SET concurrency_limit = 1")
        await run.until("FAILED")
        first = await workflows(environment, "runs", "replay", run.run_id, *why)
        assert (first["status"], first["created"], "polled" in first) == ("RUNNING", True, True)
        redrive = ("runs", "redrive", run.run_id, "--from", "root.steps[1]")
        for again in (("runs", "replay", run.run_id, *why), (*redrive, *why), (*redrive, "--dry-run")):
            message = await refused(environment, *again)
            assert f"RUN_REPEATED_BEFORE at runId: run {run.run_id} was redriven or replayed before" in message
            assert first["newRunId"] in message
        planned = await workflows(environment, *redrive, "--dry-run", "--again")
        assert planned["earlier"] == [first["newRunId"]]
        second = await workflows(environment, *redrive, *why, "--again")
        assert (second["status"], second["created"], "polled" in second) == ("QUEUED", True, True)
        assert "queued run " in await said(environment, "runs", "replay", run.run_id, *why, "--again")
        planned = await workflows(environment, *redrive, "--dry-run", "--again")
        assert planned["earlier"][:2] == [first["newRunId"], second["newRunId"]]
    shown = await said(environment, "runs", "show", second["newRunId"])
    line = (await workflows(environment, "runs", "show", second["newRunId"]))["logs"][-1]
    assert f"{utc(datetime.fromisoformat(line['createdAt']))} INFO takes the place of run {run.run_id}" in shown
    assert "\nqueued 20" in shown


async def test_the_dry_run_of_a_redrive_is_refused_for_what_the_redrive_is(
    environment: dict[str, str], db: Database, client: Client
) -> None:
    def act(name: str, **fields: Any) -> dict[str, Any]:
        config = {"actionId": "test.act", "version": 1, "inputMapping": {"name": name}}
        return {"id": name, "type": "action.call", "config": config, **fields}

    steps = document(act("look"), act("charge", onCompensate=[act("refund")]), act("ship"))
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["ship"] = ["ActionError"]
        run = await authored.start({**steps, "compensateOn": ["failure"]}, {})
        await run.until("FAILED")
    redrive = ("runs", "redrive", run.run_id, "--from", "ship")
    for options in (("--dry-run",), ("--reason", "once more")):
        message = await refused(environment, *redrive, *options)
        assert "REDRIVE_KEEPS_UNDONE" in message
        assert "begin with root.steps[1], or say --keep-undone" in message
    planned = await workflows(environment, *redrive, "--dry-run", "--keep-undone")
    assert (planned["undone"], planned["newRunId"]) == (["root.steps[1]"], None)
    begins = await workflows(environment, "runs", "redrive", run.run_id, "--from", "root.steps[1]", "--dry-run")
    assert begins["undone"] == []


async def test_why_the_database_cannot_be_used_is_said_with_its_address(environment: dict[str, str]) -> None:
    where = f"PostgreSQL at 127.0.0.1:{environment['DB_PORT']}/{environment['DB_NAME_SERVER']}"
    message = await refused({**environment, "DB_PASSWORD_SERVER": "wrong"}, "runs", "list")
    assert f"DATABASE_UNAVAILABLE: {where} cannot be used:" in message
    assert "password authentication failed" in message
    assert "wrong" not in message
    (code, _, error) = await command(
        {}, "db", "upgrade", "--url", f"postgresql://nobody:x@127.0.0.1:{environment['DB_PORT']}/nothing"
    )
    assert (code, "password authentication failed" in error, "Traceback" in error) == (1, True, False)
