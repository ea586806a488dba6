"""Every line that is written for a run says which run, and where in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.conftest import Stack
from harness.interpreted import document
from harness.operator import publish, start, until_status

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_line_of_an_action_has_its_tenant_run_workflow_and_step(stack: Stack, tmp_path: Path) -> None:
    config = {"actionId": "log.write", "version": 1, "inputMapping": {"message": "written by test_log_context"}}
    content = {**document({"id": "say", "type": "action.call", "config": config}), "id": "log-context"}
    key = await publish(stack.environment, content, tmp_path)
    run_id = await start(stack.environment, key, {})
    await until_status(stack.environment, run_id, "SUCCEEDED")
    (line,) = [line for line in stack.workflow_worker.events("log") if line["message"] == "written by test_log_context"]
    about = {name: line.get(name) for name in ("tenant", "run_id", "step_path", "action")}
    tenant = stack.environment["WORKFLOWS_TENANT"]
    assert about == {"tenant": tenant, "run_id": run_id, "step_path": "root.steps[0]", "action": "log.write"}
