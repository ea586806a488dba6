"""A tenant with many queued runs does not delay another tenant's few (docs/adr/0005)."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import Client

from harness.interpreted import document
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.actions.secrets import MappingSecrets
from workflows_core.execution.worker import WorkerLimits, authored_worker
from workflows_core.launching.launcher import Launcher, LaunchRequest
from workflows_core.runtime import AuthoredRuntime
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version, save_draft

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]
MANY, FEW = 250, 3


async def test_a_tenant_with_many_queued_runs_does_not_delay_another_s_few(db: Database) -> None:
    order: list[str] = []

    async def note(value: dict[str, str], context: ActionContext) -> dict[str, str]:
        order.append(context.tenant_id)
        await asyncio.sleep(0.02)
        return {}

    schema = {"type": "object"}
    action = Action("test.note", 1, note, schema, schema, "Notes whose turn it is.", effect=Effect.IDEMPOTENT)
    step = {"type": "action.call", "config": {"actionId": "test.note", "version": 1, "inputMapping": {}}}
    content = document(step)
    # A server of its own: the queue must be empty but for these.
    with EmbeddedTemporal() as own:
        client = await Client.connect(own.address, namespace=own.namespace)
        launcher = Launcher(db, client)
        for tenant, count in (("large", MANY), ("small", FEW)):
            async with db.tenant(tenant) as conn:
                await save_draft(conn, workflow_id=tenant, key="wf", name="wf", document=content)
                await publish_version(conn, tenant, content)
            for number in range(count):
                await launcher.launch(LaunchRequest(tenant=tenant, workflow="wf", run_id=f"{tenant}-{number}"))
        runtime = AuthoredRuntime.build(db, {"test": lambda: [action]}, MappingSecrets({}))
        async with authored_worker(client, runtime.activities, WorkerLimits(2, 2, 2, 500, 1)):
            for number in range(FEW):
                await client.get_workflow_handle(f"workflow-runtime-v2:run:small-{number}").result()
    before = order[: max(index for index, tenant in enumerate(order) if tenant == "small") + 1]
    assert before.count("small") == FEW
    assert before.count("large") < MANY / 10, "all three of the small tenant come long before the large one's are done"
