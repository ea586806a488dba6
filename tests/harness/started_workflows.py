"""Ends what a test leaves open on the session's Temporal server."""

from __future__ import annotations

from typing import Any

from temporalio.client import Client, Interceptor, OutboundInterceptor, StartWorkflowInput, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode


class StartedWorkflows(Interceptor):
    """Notes each workflow that a client starts.

    Workers of all tests poll the same queue: an open run of an earlier test would be carried on by the worker of a
    later one, which would write its rows into that test's database.
    """

    def __init__(self) -> None:
        self._ids: set[str] = set()

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's name
        """Puts the noting before the call."""
        return _Noting(next, self._ids)

    async def end(self, client: Client) -> int:
        """Terminates those that are still open; how many there were."""
        ended = 0
        while self._ids:
            try:
                await client.get_workflow_handle(self._ids.pop()).terminate("the test that started it has ended")
                ended += 1
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
        return ended


class _Noting(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, ids: set[str]) -> None:  # noqa: A002 - the SDK's name
        super().__init__(next)
        self._ids = ids

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        self._ids.add(input.id)
        return await super().start_workflow(input)
