"""The HTTP API over the real launcher, PostgreSQL and Temporal."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import TimeoutError as PoolTimeout
from temporalio.client import Client

from harness.authored import TENANT, authored_runtime
from harness.databases import MigratedDatabase, engine_of
from harness.forwarding import Forwarder
from harness.interpreted import document, wait
from harness.run_records import rows
from harness.workspace import ROOT
from workflow_server.api.application import create_api
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.launching.launcher import Launcher, LaunchPolicy
from workflows_core.launching.request import LaunchedRun, LaunchRequest
from workflows_core.redaction import REDACTED
from workflows_core.storage.api_tokens import ApiRole, create_token, list_tokens, revoke_token
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version, save_draft

pytestmark = pytest.mark.asyncio(loop_scope="session")
DOCUMENT: dict[str, Any] = json.loads((ROOT / "contracts" / "openapi.json").read_text(encoding="utf-8"))


async def token_of(db: Database, role: ApiRole = "operator", tenant: str = TENANT, **more: Any) -> str:
    async with db.tenant(tenant) as conn:
        _, token = await create_token(conn, name=f"{role} of {tenant}", role=role, **more)
    return token


async def publish(db: Database, key: str = "orders", tenant: str = TENANT) -> None:
    async with db.tenant(tenant) as conn:
        await save_draft(conn, workflow_id=f"id-{key}", key=key, name=key, document=document(wait()))
        await publish_version(conn, f"id-{key}", document(wait()))


async def documented(answer: httpx.Response) -> None:
    """Whatever a test asks, the OpenAPI document has the answer's status and its type."""
    for path, operations in DOCUMENT["paths"].items():
        operation = operations.get(answer.request.method.lower())
        if operation is None or not re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), answer.request.url.path):
            continue
        said = operation["responses"].get(str(answer.status_code), {"content": ()})
        assert answer.headers["content-type"] in said["content"], (answer.request.method, path, answer.status_code)


def http(db: Database, launcher: Launcher, token: str | None, **headers: str) -> httpx.AsyncClient:
    given_headers = headers if token is None else {"authorization": f"Bearer {token}", **headers}
    transport = httpx.ASGITransport(create_api(db, launcher, version="1", max_body_bytes=10_000))
    hooks = {"response": [documented]}
    return httpx.AsyncClient(transport=transport, base_url="http://api", headers=given_headers, event_hooks=hooks)


@pytest_asyncio.fixture(loop_scope="session")
async def api(db: Database, client: Client) -> AsyncIterator[httpx.AsyncClient]:
    """As an operator of the tenant, with one published workflow."""
    await publish(db)
    async with http(db, Launcher(db, client), await token_of(db)) as found:
        yield found


def problem(response: httpx.Response) -> tuple[int, str]:
    body = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert body["status"] == response.status_code
    assert body["code"] == body["problems"][0]["code"]
    assert body["type"].endswith(body["code"])
    return response.status_code, body["code"]


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


async def test_an_idempotency_key_starts_once_also_at_the_same_time(api: httpx.AsyncClient, db: Database) -> None:
    key = {"idempotency-key": "order-17"}
    answers = await asyncio.gather(*(api.post("/v1/runs", json=START, headers=key) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["runId"] for answer in answers}) == 1
    assert len(await rows(db, "workflow_runs")) == 1


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


# Who may


async def test_no_token_and_tokens_that_are_no_good(api: httpx.AsyncClient, db: Database, client: Client) -> None:
    launcher = Launcher(db, client)
    for token, code in (
        (None, "TOKEN_MISSING"),
        ("", "TOKEN_MISSING"),
        ("wft_nonsense", "TOKEN_INVALID"),
        ("nonsense", "TOKEN_INVALID"),
        (await token_of(db, lives_for=timedelta(seconds=-1)), "TOKEN_INVALID"),
    ):
        async with http(db, launcher, token) as other:
            # Before anything else is looked at: not the type, not the size, not whether the run is there.
            answers = [
                await other.get("/v1/runs"),
                await other.get("/v1/runs/nothing"),
                await other.get("/v1/nothing"),
                await other.post("/v1/runs", content=b"{" * 20_000, headers={"content-type": "text/plain"}),
                await other.post("/v1/events", json={"eventName": "PAID"}),
            ]
        for answer in answers:
            assert problem(answer) == (401, code)
            assert answer.headers["www-authenticate"] == "Bearer"
    assert await rows(db, "workflow_runtime_events") == []
    assert await rows(db, "workflow_runs") == []


async def test_a_revoked_token_is_no_good_at_once(api: httpx.AsyncClient, db: Database) -> None:
    assert (await api.get("/v1/runs")).status_code == 200
    async with db.tenant(TENANT) as conn:
        (token,) = await list_tokens(conn)
        assert token.last_used_at is not None
        await revoke_token(conn, token.token_id)
    assert problem(await api.get("/v1/runs")) == (401, "TOKEN_INVALID")


@pytest.mark.parametrize(
    ("role", "may_publish", "may_start"), [("viewer", 403, 403), ("publisher", 202, 403), ("operator", 202, 201)]
)
async def test_roles(db: Database, client: Client, role: ApiRole, may_publish: int, may_start: int) -> None:
    await publish(db)
    async with http(db, Launcher(db, client), await token_of(db, role)) as api:
        assert (await api.get("/v1/runs")).status_code == 200
        published = await api.post("/v1/events", json={"eventName": "PAID"})
        started = await api.post("/v1/runs", json=START)
        cancelled = await api.post("/v1/runs/x/cancel", json={"reason": "because"})
    assert (published.status_code, started.status_code) == (may_publish, may_start)
    assert cancelled.status_code == (404 if role == "operator" else 403)
    assert len(await rows(db, "workflow_runtime_events")) == (1 if may_publish == 202 else 0)
    assert len(await rows(db, "workflow_runs")) == (1 if may_start == 201 else 0)
    if may_start == 403:
        assert problem(started) == (403, "ROLE_INSUFFICIENT")


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_contents_of_actions_are_for_operators_and_secrets_for_nobody(
    db: Database, client: Client, role: ApiRole
) -> None:
    async with authored_runtime(db, client) as authored:
        mapping = {"id": {"$expr": "payload.id"}, "token": {"$expr": "payload.token"}}
        call = {"actionId": "test.echo", "version": 1, "inputMapping": mapping}
        run = await authored.start(document({"type": "action.call", "config": call}), {"id": 1, "token": "t"})
        await run.handle.result()
    async with http(db, Launcher(db, client), await token_of(db, role)) as api:
        shown = (await api.get(f"/v1/runs/{run.run_id}")).json()
        (listed,) = (await api.get("/v1/runs")).json()["runs"]
    hidden = {"id": 1, "token": REDACTED}
    assert shown["run"]["inputJson"] == listed["inputJson"] == hidden
    (called,) = shown["invocations"]
    seen = (called["inputJson"], called["outputJson"], shown["steps"][0]["outputJson"])
    assert seen == (hidden if role == "operator" else {"redacted": True},) * 3


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_why_a_run_failed_and_what_it_gave_is_for_operators(db: Database, client: Client, role: ApiRole) -> None:
    fail = {"actionId": "test.fail", "version": 1, "inputMapping": {"category": "ActionError"}}
    give = {"value": {"$expr": "payload.id"}}
    async with authored_runtime(db, client) as authored:
        failed = await authored.start(document({"type": "action.call", "config": fail}), {"id": 1})
        given = await authored.start(document({"type": "control.return", **give}), {"id": 1})
        await failed.until("FAILED")
        await given.until("SUCCEEDED")
    async with http(db, Launcher(db, client), await token_of(db, role)) as api:
        shown = [(await api.get(f"/v1/runs/{run.run_id}")).json()["run"] for run in (failed, given)]
        listed = {run["runId"]: run for run in (await api.get("/v1/runs")).json()["runs"]}
    for seen in (shown, [listed[run.run_id] for run in (failed, given)]):
        assert (seen[0]["errorJson"]["category"], seen[0]["inputJson"]) == ("ActionError", {"id": 1})
        assert ("message" in seen[0]["errorJson"]) == (role == "operator")
        assert (seen[1]["resultJson"] == {"redacted": True}) == (role == "viewer")


async def test_another_tenant_s_run_is_like_one_that_is_not_there(
    api: httpx.AsyncClient, db: Database, client: Client
) -> None:
    run_id = (await api.post("/v1/runs", json=START)).json()["runId"]
    async with http(db, Launcher(db, client), await token_of(db, tenant="other")) as other:
        theirs = await other.get(f"/v1/runs/{run_id}")
        nothing = await other.get(f"/v1/runs/{uuid.uuid4()}")
        cancel = await other.post(f"/v1/runs/{run_id}/cancel", json={"reason": "mine now"})
        listed = await other.get("/v1/runs")
    assert problem(theirs) == problem(nothing) == problem(cancel) == (404, "RUN_NOT_FOUND")
    assert theirs.json()["title"] == nothing.json()["title"]
    assert listed.json() == {"runs": [], "next": None}
    (row,) = await rows(db, "workflow_runs")
    assert row["status"] == "RUNNING"


async def test_a_tenant_in_the_body_is_refused(api: httpx.AsyncClient, db: Database) -> None:
    assert problem(await api.post("/v1/runs", json={**START, "tenantId": "other"})) == (422, "REQUEST_INVALID")
    assert await rows(db, "workflow_runs") == []


async def test_the_token_is_kept_as_a_hash_only(db: Database) -> None:
    token = await token_of(db)
    async with db.tenant(TENANT) as conn:
        (row,) = (await conn.execute(text("SELECT row_to_json(t)::text FROM workflow_api_tokens t"))).scalars().all()
    assert token not in row
    assert token.removeprefix("wft_") not in row


# What is wrong with a request


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
        ("GET", "/v1/runs?cursor=zzz", (422, "CURSOR_INVALID")),
        ("GET", "/v1/runs?cursor=e30", (422, "CURSOR_INVALID")),
        ("GET", "/v1/runs/%00", (422, "REQUEST_INVALID")),
    ],
)
async def test_wrong_routes_and_parameters(
    api: httpx.AsyncClient, method: str, path: str, expected: tuple[int, str]
) -> None:
    assert problem(await api.request(method, path)) == expected


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
