"""Whether the namespace is one that runs can be started in."""

from __future__ import annotations

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError

from workflows_core.wire.names import SEARCH_PARENT, SEARCH_TENANT, SEARCH_VERSION, SEARCH_WORKFLOW

_REQUIRED = (SEARCH_PARENT, SEARCH_TENANT, SEARCH_VERSION, SEARCH_WORKFLOW)


class SearchAttributesCheck:
    """Asks the namespace for the search attributes of runs; without them every start fails.

    Args:
        client: Connected to the namespace.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: set[str] = set()

    async def __call__(self) -> tuple[bool, str]:
        """True when all are registered, which is remembered; and a sentence for people."""
        if not self._known.issuperset(_REQUIRED):
            request = ListSearchAttributesRequest(namespace=self._client.namespace)
            try:
                listed = await self._client.operator_service.list_search_attributes(request)
            except RPCError as error:
                return False, f"Temporal does not say which search attributes it has: {error.message}"
            self._known.update(listed.custom_attributes)
        missing = [name for name in _REQUIRED if name not in self._known]
        if missing:
            return False, f"namespace {self._client.namespace} lacks {', '.join(missing)}; run `workflows setup`"
        return True, "registered"
