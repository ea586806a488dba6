"""The HTTP API inside a test, each of its answers held to the OpenAPI document."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx

from harness.authored import TENANT
from harness.interpreted import document, wait
from harness.workspace import ROOT
from workflow_server.api.application import create_api
from workflows_core.launching.launcher import Launcher
from workflows_core.storage.api_tokens import ApiRole, create_token
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version, save_draft

DOCUMENT: dict[str, Any] = json.loads((ROOT / "contracts" / "openapi.json").read_text(encoding="utf-8"))


async def token_of(db: Database, role: ApiRole = "operator", tenant: str = TENANT, **more: Any) -> str:
    """A new token."""
    async with db.tenant(tenant) as conn:
        _, token = await create_token(conn, name=f"{role} of {tenant}", role=role, **more)
    return token


async def publish(db: Database, key: str = "orders", tenant: str = TENANT) -> None:
    """A workflow that waits for an event."""
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
    """A client of the API, with a token."""
    given_headers = headers if token is None else {"authorization": f"Bearer {token}", **headers}
    transport = httpx.ASGITransport(create_api(db, launcher, version="1", max_body_bytes=10_000))
    hooks = {"response": [documented]}
    return httpx.AsyncClient(transport=transport, base_url="http://api", headers=given_headers, event_hooks=hooks)


def problem(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    body = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert body["status"] == response.status_code
    assert body["code"] == body["problems"][0]["code"]
    assert body["type"].endswith(body["code"])
    return response.status_code, body["code"]
