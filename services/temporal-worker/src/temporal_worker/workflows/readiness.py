"""The readiness workflow: shows that a queue's workflow and activity pollers are both alive."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

from temporal_worker.names import READINESS_WORKFLOW, readiness_activity


@workflow.defn(name=READINESS_WORKFLOW)
class ReadinessWorkflow:
    """Echoes the queue it ran on, and the identity of the process whose activity answered there."""

    @workflow.run
    async def run(self, message: str | None = None) -> dict[str, Any]:
        """Ask this queue's own readiness activity.

        Returns:
            `{queue, identity, service, version, message}`.
        """
        answer: dict[str, Any] = await workflow.execute_activity(
            readiness_activity(workflow.info().task_queue),
            message,
            start_to_close_timeout=timedelta(seconds=10),
            schedule_to_close_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(maximum_attempts=3),
        )
        return answer
