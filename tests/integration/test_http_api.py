"""The HTTP API over the real launcher, PostgreSQL and Temporal."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import TimeoutError as PoolTimeout
from temporalio.client import Client

from harness.authored import TENANT, authored_runtime
from harness.databases import MigratedDatabase, engine_of
from harness.forwarding import Forwarder
from harness.http_api import http, problem, publish, token_of
from harness.run_records import rows
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.launching.launcher import Launcher, LaunchPolicy
from workflows_core.launching.request import LaunchedRun, LaunchRequest
from workflows_core.storage.database import Database
from workflows_core.storage.runs import run_timeline

pytestmark = pytest.mark.asyncio(loop_scope="session")


def deep(levels: int) -> Any:
    return json.loads('{"a":' * levels + "1" + "}" * levels)


START = {"workflow": "orders", "payload": {"id": "k1"}}


async def test_a_run_is_started_shown_resumed_by_an_event_and_listed(
    api: httpx.AsyncClient, db: Database, client: Client
) -> None:
    async with authored_runtime(db, client):
        started = await api.post("/v1/runs", json=START)
        assert started.status_code == 201
        run_id = started.json()["runId"]
        assert started.json()["created"] is True
        while (await api.get(f"/v1/runs/{run_id}")).json()["run"]["status"] != "WAITING":
            await asyncio.sleep(0.02)
        event = {"eventName": "PAID", "eventId": "e1", "correlationKey": "k1", "payload": {"amount": 3}}
        assert (await api.post("/v1/events", json=event)).status_code == 202
        again = await api.post("/v1/events", json=event)
        assert (again.status_code, again.json()) == (200, {"eventId": "e1", "created": False})
        other = await api.post("/v1/events", json={**event, "payload": {"amount": 4}})
        assert problem(other) == (409, "EVENT_CONFLICT")
    shown = (await api.get(f"/v1/runs/{run_id}")).json()
    assert [step["stepPath"] for step in shown["waits"]] == ["root.steps[0]"]
    assert (shown["run"]["inputJson"], shown["run"]["workflowId"]) == ({"id": "k1"}, "id-orders")
    listed = (await api.get("/v1/runs", params={"workflow": "orders"})).json()
    assert [run["runId"] for run in listed["runs"]] == [run_id]
    assert listed["next"] is None
    assert problem(await api.get("/v1/runs", params={"workflow": "other"})) == (404, "WORKFLOW_UNKNOWN")


async def test_a_run_is_cancelled_with_a_reason_that_names_the_token(
    api: httpx.AsyncClient, db: Database, client: Client
) -> None:
    async with authored_runtime(db, client):
        run_id = (await api.post("/v1/runs", json=START)).json()["runId"]
        for body in ({}, {"reason": "  "}, {"reason": " a "}):
            silent = await api.post(f"/v1/runs/{run_id}/cancel", json=body)
            assert problem(silent) == (422, "REQUEST_INVALID")
            assert [one["path"] for one in silent.json()["problems"]] == ["body.reason"]
        answer = await api.post(f"/v1/runs/{run_id}/cancel", json={"reason": "withdrawn"})
        assert (answer.status_code, answer.json()) == (202, {"runId": run_id, "cancelRequested": True})
        while (shown := (await api.get(f"/v1/runs/{run_id}")).json())["run"]["status"] != "CANCELED":
            await asyncio.sleep(0.02)
    assert any("withdrawn (token operator of acme)" in line["message"] for line in shown["logs"])
    assert problem(await api.post(f"/v1/runs/{run_id}/cancel", json={"reason": "again"})) == (409, "RUN_ENDED")


async def test_of_a_run_that_has_done_very_much_the_newest_is_shown(api: httpx.AsyncClient, db: Database) -> None:
    """All of it was read: with 2,500 calls of 100 KB the process that answered, and ran actions, took a GiB for it."""
    run_id = (await api.post("/v1/runs", json=START)).json()["runId"]
    lines = text(
        "INSERT INTO workflow_run_logs (tenant, run_id, level, message, generation, sequence, ordinal, created_at)"
        " SELECT current_setting('workflows.tenant'), :run, 'INFO', 'line ' || n, 0, 1, n,"
        " now() + make_interval(secs => n) FROM generate_series(1, 5003) AS n"
    )
    calls = text(
        "INSERT INTO workflow_action_invocations"
        " (tenant, run_id, step_path, action_id, action_version, idempotency_key, status, output_json, started_at)"
        " SELECT current_setting('workflows.tenant'), :run, 'root.steps[0]', 'act', 1, 'call ' || n, 'SUCCEEDED',"
        " to_jsonb(repeat('x', 1024 * 1024)), now() + make_interval(secs => n) FROM generate_series(1, 20) AS n"
    )
    async with db.tenant(TENANT) as conn:
        for statement in (lines, calls):
            await conn.execute(statement, {"run": run_id})
    shown = (await api.get(f"/v1/runs/{run_id}")).json()
    assert sorted(shown["leftOut"]) == ["invocations", "logs"]
    assert [line["message"] for line in shown["logs"]] == [f"line {number}" for number in range(4, 5004)]
    assert [call["idempotencyKey"] for call in shown["invocations"]] == [f"call {number}" for number in range(13, 21)]
    async with db.tenant(TENANT) as conn:
        whole = await run_timeline(conn, run_id)
    assert whole is not None
    assert (len(whole.logs), len(whole.invocations), whole.left_out) == (5003, 20, ())


async def test_an_idempotency_key_starts_once_also_at_the_same_time(api: httpx.AsyncClient, db: Database) -> None:
    key = {"idempotency-key": "order-17"}
    answers = await asyncio.gather(*(api.post("/v1/runs", json=START, headers=key) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["runId"] for answer in answers}) == 1
    assert len(await rows(db, "workflow_runs")) == 1


@pytest.mark.parametrize("payload", ['{"n": 1e23}', '{"n": 1.0}', '{"n": -0.0}', '{"n": 12345678901234567890.5}'])
async def test_the_same_request_again_is_the_same_whatever_number_is_in_it(
    api: httpx.AsyncClient, payload: str
) -> None:
    content = f'{{"workflow": "orders", "payload": {payload}}}'
    headers = {"idempotency-key": "of-a-number", "content-type": "application/json"}
    first, second = [await api.post("/v1/runs", content=content, headers=headers) for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["runId"] == second.json()["runId"]


async def test_true_is_another_payload_than_one(api: httpx.AsyncClient) -> None:
    key = {"idempotency-key": "order-17"}
    assert (await api.post("/v1/runs", json={"workflow": "orders", "payload": 1}, headers=key)).status_code == 201
    answer = await api.post("/v1/runs", json={"workflow": "orders", "payload": True}, headers=key)
    assert problem(answer) == (409, "IDEMPOTENCY_KEY_REUSED")


@pytest.mark.parametrize("change", [{"payload": {"id": "k2"}}, {"workflow": "refunds"}, {"version": 7}])
async def test_an_idempotency_key_of_something_else_is_refused(
    api: httpx.AsyncClient, db: Database, change: dict[str, Any]
) -> None:
    await publish(db, "refunds")
    key = {"idempotency-key": "order-17"}
    assert (await api.post("/v1/runs", json=START, headers=key)).status_code == 201
    answer = await api.post("/v1/runs", json={**START, **change}, headers=key)
    assert problem(answer) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert len(await rows(db, "workflow_runs")) == 1


async def test_a_launch_without_temporal_is_recorded_and_finished_by_the_same_request(
    db: Database, client: Client, temporal: EmbeddedTemporal
) -> None:
    await publish(db)
    host, _, port = temporal.address.rpartition(":")
    between = Forwarder(host, int(port))
    await between.open()
    away = await Client.connect(between.address, namespace=temporal.namespace)
    await between.close()
    token = await token_of(db)
    key = {"idempotency-key": "k"}
    async with http(db, Launcher(db, away, LaunchPolicy(rpc_seconds=1)), token) as cut:
        answers = [await cut.post("/v1/runs", json=START, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert [answer.json()["created"] for answer in answers] == [True, False]
    assert {answer.json()["status"] for answer in answers} == {"STARTING"}
    async with http(db, Launcher(db, client), token) as whole:
        finished = await whole.post("/v1/runs", json=START, headers=key)
    assert (finished.status_code, finished.json()["status"]) == (200, "RUNNING")


async def test_without_a_database_every_answer_says_so(
    database: MigratedDatabase, db: Database, client: Client
) -> None:
    token = await token_of(db)
    url = make_url(database.url)
    between = Forwarder(str(url.host), int(url.port or 5432))
    await between.open()
    host, _, port = between.address.rpartition(":")
    async with engine_of(url.set(host=host, port=int(port)).render_as_string(hide_password=False)) as engine:
        away = Database(engine)
        async with http(away, Launcher(away, client), token) as api:
            assert (await api.get("/v1/runs")).status_code == 200
            await between.close()
            answer = await api.get("/v1/runs")
    assert problem(answer) == (503, "DATABASE_UNAVAILABLE")
    assert answer.headers["retry-after"] == "5"


async def test_a_fault_inside_a_route_is_answered_as_any_other(
    db: Database, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Launcher):
        async def launch(self, request: LaunchRequest) -> LaunchedRun:
            raise error

    await publish(db)
    token = await token_of(db)
    async with http(db, Faulty(db, client), token) as api:
        error: Exception = PoolTimeout("no connection")
        answer = await api.post("/v1/runs", json=START)
        assert problem(answer) == (503, "DATABASE_UNAVAILABLE")
        assert answer.headers["retry-after"] == "5"
        error = ZeroDivisionError("of Ours Alone")
        answer = await api.post("/v1/runs", json=START)
    assert problem(answer) == (500, "INTERNAL_ERROR")
    (line,) = [record for record in caplog.records if getattr(record, "event", None) == "api_fault"]
    assert line.getMessage().split()[-1] in answer.json()["detail"]
    assert "Ours Alone" not in answer.text


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/runs", {"workflow": "orders", "version": 2**31}, (422, "REQUEST_INVALID")),
        ("/v1/runs", {"workflow": "orders", "payload": deep(480)}, (422, "LAUNCH_INVALID")),
        ("/v1/events", {"eventName": "PAID", "payload": deep(480)}, (422, "EVENT_INVALID")),
        ("/v1/events", {"eventName": "PAID", "payload": {"n": 10**400}}, (422, "EVENT_INVALID")),
        ("/v1/events", {"eventName": "PAID", "occurredAt": "0001-01-01T00:00:00+14:00"}, (422, "EVENT_INVALID")),
        ("/v1/events", {"eventName": "PAID", "occurredAt": 1730000000}, (422, "REQUEST_INVALID")),
        ("/v1/events", {"eventName": "PAID", "occurredAt": "1730000000.5"}, (422, "REQUEST_INVALID")),
        ("/v1/events", {"eventName": "PAID", "eventId": "task-reminder:t:1"}, (422, "EVENT_INVALID")),
        ("/v1/events", {"eventName": "PAID", "eventId": "run-ended:r"}, (422, "EVENT_INVALID")),
        ("/v1/events", {"eventName": "WORKFLOW_RUN_ENDED"}, (422, "EVENT_INVALID")),
        ("/v1/events", {"eventName": "PAID", "payloadSchemaRef": "payload.No.v1"}, (422, "PAYLOAD_SCHEMA_REF_UNKNOWN")),
        (
            "/v1/events",
            {"eventName": "PAID", "payloadSchemaRef": "payload.WorkflowClockTrigger.v1", "payload": {}},
            (422, "EVENT_PAYLOAD_INVALID"),
        ),
    ],
)
async def test_what_looks_fine_and_is_not_is_refused(
    api: httpx.AsyncClient, db: Database, path: str, body: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert problem(await api.post(path, json=body)) == expected
    assert await rows(db, "workflow_runtime_events") == []
    assert await rows(db, "workflow_runs") == []


async def test_a_cursor_with_a_nul_is_refused(api: httpx.AsyncClient) -> None:
    cursor = base64.urlsafe_b64encode(b'{"at":"2026-01-01T00:00:00Z","run_id":"a\\u0000"}').decode()
    answer = await api.get("/v1/runs", params={"cursor": cursor})
    assert problem(answer) == (422, "CURSOR_INVALID")


@pytest.mark.parametrize(
    ("content", "headers", "expected"),
    [
        (b'{"workflow": "orders"', {}, (400, "NOT_JSON")),
        (b"\xff\xfe", {}, (400, "NOT_JSON")),
        (b"[" * 9_000, {}, (400, "NOT_JSON")),
        (b'{"workflow": "orders", "workflow": "orders"}', {}, (400, "NOT_JSON")),
        (b'{"workflow": "orders", "payload": {"id": [{"n": 1, "\\u006e": 2}]}}', {}, (400, "NOT_JSON")),
        (b"", {}, (422, "REQUEST_INVALID")),
        (b"[]", {}, (422, "REQUEST_INVALID")),
        (b"{}", {}, (422, "REQUEST_INVALID")),
        (b'{"workflow": 7}', {}, (422, "REQUEST_INVALID")),
        (b'{"workflow": "orders", "version": 0}', {}, (422, "REQUEST_INVALID")),
        (b'{"workflow": "orders", "version": true}', {}, (422, "REQUEST_INVALID")),
        (b'{"workflow": "orders", "payload": {"a": NaN}}', {}, (422, "LAUNCH_INVALID")),
        (b'{"workflow": "orders", "payload": "\\u0000"}', {}, (422, "LAUNCH_INVALID")),
        (b'{"workflow": "ord\\u0000ers"}', {}, (422, "REQUEST_INVALID")),
        (b'{"workflow": "\\ud800"}', {}, (422, "REQUEST_INVALID")),
        (b'{"workflow": "order"}', {}, (404, "WORKFLOW_UNKNOWN")),
        (b'{"workflow": "orders", "version": 9}', {}, (404, "WORKFLOW_VERSION_UNKNOWN")),
        (b'{"workflow": "orders"}', {"content-type": "text/plain"}, (415, "CONTENT_TYPE_WRONG")),
        (b'{"workflow": "orders"}', {"content-type": ""}, (415, "CONTENT_TYPE_WRONG")),
        (b'{"workflow": "' + b"o" * 10_000 + b'"}', {}, (413, "BODY_TOO_LARGE")),
        (b'{"workflow": "orders"}', {"idempotency-key": "a b"}, (422, "REQUEST_INVALID")),
    ],
)
async def test_a_wrong_start_is_refused_and_writes_nothing(
    api: httpx.AsyncClient, db: Database, content: bytes, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    answer = await api.post("/v1/runs", content=content, headers={"content-type": "application/json", **headers})
    assert problem(answer) == expected
    assert await rows(db, "workflow_runs") == []


async def test_a_body_without_a_length_is_bounded_as_well(api: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(1_000):
            yield b" " * 1_000

    answer = await api.post("/v1/runs", content=pieces(), headers={"content-type": "application/json"})
    assert problem(answer) == (413, "BODY_TOO_LARGE")


async def test_all_problems_of_a_request_come_at_once_with_their_places(api: httpx.AsyncClient) -> None:
    wrong = {"eventId": "", "occurredAt": "yesterday", "correlationKey": "a\0", "more": 1}
    answer = await api.post("/v1/events", json=wrong)
    assert problem(answer) == (422, "REQUEST_INVALID")
    found = {one["path"].removeprefix("body."): one["message"] for one in answer.json()["problems"]}
    assert found.keys() == {"eventName", *wrong}
    assert found["correlationKey"] == "must have no NUL and no half of a surrogate pair"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/nothing", (404, "ROUTE_UNKNOWN")),
        ("GET", "/nothing", (404, "ROUTE_UNKNOWN")),
        ("GET", "/v1/runs/", (404, "ROUTE_UNKNOWN")),
        ("DELETE", "/v1/runs", (405, "METHOD_NOT_ALLOWED")),
        ("GET", "/v1/runs?limit=0", (422, "REQUEST_INVALID")),
        ("GET", "/v1/runs?status=DONE", (422, "REQUEST_INVALID")),
        ("GET", "/v1/runs?workfow=orders", (422, "REQUEST_INVALID")),
        ("GET", "/v1/runs?status=RUNNING&limit=5&status=FAILED", (422, "REQUEST_INVALID")),
        ("GET", "/v1/runs?cursor=zzz", (422, "CURSOR_INVALID")),
        ("GET", "/v1/runs?cursor=e30", (422, "CURSOR_INVALID")),
        ("GET", "/v1/runs/%00", (422, "REQUEST_INVALID")),
    ],
)
async def test_wrong_routes_and_parameters(
    api: httpx.AsyncClient, method: str, path: str, expected: tuple[int, str]
) -> None:
    assert problem(await api.request(method, path)) == expected


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/v1/runs", "GET, POST"), ("/v1/runs/some-run", "GET"), ("/v1/runs/some-run/cancel", "POST")],
)
async def test_a_wrong_method_is_told_every_one_that_there_is(api: httpx.AsyncClient, path: str, methods: str) -> None:
    answer = await api.delete(path)
    assert problem(answer) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == methods


async def test_a_paused_workflow_and_one_at_its_limit(api: httpx.AsyncClient, db: Database) -> None:
    async with db.tenant(TENANT) as conn:
        await conn.execute(text("UPDATE workflow_definitions SET concurrency_limit = 1"))
    assert (await api.post("/v1/runs", json=START)).status_code == 201
    assert problem(await api.post("/v1/runs", json=START)) == (409, "CONCURRENCY_LIMIT_REACHED")
    async with db.tenant(TENANT) as conn:
        await conn.execute(text("UPDATE workflow_definitions SET is_paused = true"))
    assert problem(await api.post("/v1/runs", json=START)) == (409, "WORKFLOW_PAUSED")
    assert len(await rows(db, "workflow_runs")) == 1


async def test_pages_have_every_run_once(api: httpx.AsyncClient, db: Database) -> None:
    started = {(await api.post("/v1/runs", json=START)).json()["runId"] for _ in range(7)}
    async with db.tenant(TENANT) as conn:
        # Several runs of one moment: the id decides.
        await conn.execute(text("UPDATE workflow_runs SET started_at = date_trunc('second', started_at)"))
    for limit in (1, 2, 3, 7, 8):
        seen: list[str] = []
        cursor: str | None = None
        while True:
            params: dict[str, Any] = {"limit": limit, **({} if cursor is None else {"cursor": cursor})}
            page = (await api.get("/v1/runs", params=params)).json()
            seen += [run["runId"] for run in page["runs"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert (len(seen), set(seen)) == (7, started)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


async def test_no_body_brings_it_down(api: httpx.AsyncClient) -> None:
    bodies: list[Any] = []

    @given(
        st.dictionaries(
            st.sampled_from(
                ["workflow", "version", "payload", "eventName", "eventId", "correlationKey", "reason", "x"]
            ),
            json_values,
            max_size=5,
        )
    )
    @settings(max_examples=60, database=None, suppress_health_check=[HealthCheck.too_slow])
    def collect(body: Any) -> None:
        bodies.append(body)

    collect()
    for body in bodies:
        for path in ("/v1/runs", "/v1/events", "/v1/runs/x/cancel"):
            headers = {"content-type": "application/json"}
            answer = await api.post(path, content=json.dumps(body).encode(), headers=headers)
            assert answer.status_code < 500, (path, body, answer.text)
