"""Who may do what over the HTTP API."""

from __future__ import annotations

import uuid
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import text
from temporalio.client import Client

from harness.authored import TENANT, authored_runtime
from harness.http_api import http, problem, publish, token_of
from harness.interpreted import document
from harness.run_records import rows
from workflows_core.launching.launcher import Launcher
from workflows_core.redaction import REDACTED
from workflows_core.storage.api_tokens import ApiRole, list_tokens, revoke_token
from workflows_core.storage.database import Database

pytestmark = pytest.mark.asyncio(loop_scope="session")
START = {"workflow": "orders", "payload": {"id": "k1"}}


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


@pytest.mark.parametrize("host", ["evil/?", "evil/#", "evil/openapi.json?", "", "["])
async def test_what_a_caller_says_the_host_is_takes_no_request_past_its_token(
    db: Database, client: Client, host: str
) -> None:
    """With releases of the web framework that make a path of it a body was read without bound, and a fault logged."""
    async with http(db, Launcher(db, client), None, host=host) as other:
        answers = [await other.get("/v1/runs"), await other.post("/v1/events", json={"eventName": "PAID" * 5_000})]
    assert [problem(answer) for answer in answers] == [(401, "TOKEN_MISSING")] * 2


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
        listed = {one["runId"]: one for one in (await api.get("/v1/runs")).json()["runs"]}[run.run_id]
    hidden = {"id": 1, "token": REDACTED}
    assert shown["run"]["inputJson"] == hidden
    assert not {"inputJson", "resultJson"} & set(listed), "a page of runs may have a hundred MiB of them"
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
    assert shown[0]["inputJson"] == {"id": 1}
    assert (shown[1]["resultJson"] == {"redacted": True}) == (role == "viewer")
    for seen in (shown[0], listed[failed.run_id]):
        assert seen["errorJson"]["category"] == "ActionError"
        assert ("message" in seen["errorJson"]) == (role == "operator")


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
