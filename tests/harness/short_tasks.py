"""Workflow tasks of a second: the server is told soon that one goes on, and tells what has come meanwhile."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio.client import Client, Interceptor, OutboundInterceptor, StartWorkflowInput, WorkflowHandle


def with_short_tasks(client: Client) -> Client:
    """The client, whose workflows have them."""
    config = client.config()
    config["interceptors"] = [*config["interceptors"], _ShortTasks()]
    return Client(**config)


class _ShortTasks(Interceptor):
    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's name
        return _Starting(next)


class _Starting(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        input.task_timeout = timedelta(seconds=1)
        return await super().start_workflow(input)
