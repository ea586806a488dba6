"""A worker deployment on the authored queue, on a server of its own: nobody else would get tasks there."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.service import RPCError

from harness.authored import authored_runtime
from harness.interpreted import act, document
from service_host.settings import TemporalSettings, load_settings
from service_host.worker_options import worker_options
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.storage.database import Database

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_deployment_executes_runs_once_its_version_is_the_current_one(db: Database) -> None:
    with EmbeddedTemporal() as server:
        environ = {
            "TEMPORAL_ADDRESS": server.address,
            "TEMPORAL_NAMESPACE": server.namespace,
            "TEMPORAL_WORKER_DEPLOYMENT": "authored",
            "TEMPORAL_WORKER_BUILD_ID": "b-1",
        }
        client = await Client.connect(server.address, namespace=server.namespace)
        options = worker_options(load_settings(TemporalSettings, environ), "0.1.0")
        async with authored_runtime(db, client, **options) as authored:
            run = await authored.start(document(act("done", {"name": "x"})))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2):
                    await run.handle.result()
            current = SetWorkerDeploymentCurrentVersionRequest(
                namespace=client.namespace, deployment_name="authored", build_id="b-1", identity="operator"
            )
            async with asyncio.timeout(30):
                while True:
                    try:
                        await client.workflow_service.set_worker_deployment_current_version(current)
                        break
                    except RPCError:  # The server learns of a deployment by its first polls.
                        await asyncio.sleep(0.2)
            assert (await run.handle.result())["scopes"]["vars"]["done"]["name"] == "x"
            found = (await run.handle.describe()).raw_description.workflow_execution_info.versioning_info
    assert found.deployment_version.build_id == "b-1"
