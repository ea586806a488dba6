"""What an operator does to runs in Temporal, and who repairs what that leaves behind."""

from __future__ import annotations

import uuid
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle

from harness.authored import Started
from workflows_core.launching.launcher import Launcher
from workflows_core.launching.reconciler import Reconciler, ReconcilerPolicy
from workflows_core.storage.database import Database


def reconciler(db: Database, client: Client, **policy: float) -> Reconciler:
    """One that looks at every open run, by default."""
    return Reconciler(db, client, Launcher(db, client), ReconcilerPolicy(**{"quiet_seconds": 0, **policy}))  # type: ignore[arg-type]


async def reset(client: Client, run: Started, task: int = 0) -> WorkflowHandle[Any, Any]:
    """What an operator does with Temporal's own tools: back to the workflow task of a number, the first by default."""
    ends: list[int] = []
    while len(ends) <= task:
        events = (await run.handle.fetch_history()).events
        ends = [e.event_id for e in events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
    answer = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=run.handle.id, run_id=run.handle.result_run_id or ""),
            reason="a test",
            workflow_task_finish_event_id=ends[task],
            request_id=str(uuid.uuid4()),
        )
    )
    return client.get_workflow_handle(run.handle.id, run_id=answer.run_id)
