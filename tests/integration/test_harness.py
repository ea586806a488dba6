"""The harness gives what tests rely on."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import text
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from harness.databases import MigratedDatabase
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.storage.database import Database


@pytest.mark.asyncio
async def test_a_database_object_is_the_application_role_and_not_a_superuser(
    db: Database, database: MigratedDatabase
) -> None:
    async with db.narrow() as conn:
        row = (
            await conn.execute(
                text(
                    "SELECT current_database(), r.rolsuper, r.rolbypassrls, pg_has_role('workflow_runtime', 'USAGE')"
                    " FROM pg_roles r WHERE r.rolname = current_user"
                )
            )
        ).one()
    assert tuple(row) == (database.name, False, False, True)


@pytest.mark.asyncio
async def test_each_test_has_a_database_of_its_own(db: Database, module_db: Database) -> None:
    assert db.engine.url.database != module_db.engine.url.database


@pytest.mark.asyncio
async def test_the_client_speaks_to_the_session_s_own_server(client: Client, temporal: EmbeddedTemporal) -> None:
    answer = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    assert answer.namespace_info.name == temporal.namespace
    async with httpx.AsyncClient(trust_env=False) as http:
        found = await http.get(f"{temporal.http_address}/api/v1/namespaces/{temporal.namespace}")
        assert found.json()["namespaceInfo"]["id"] == answer.namespace_info.id
        assert temporal.ui_address is not None
        page = await http.get(temporal.ui_address, follow_redirects=True)
        assert page.status_code == 200
