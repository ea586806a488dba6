"""What must be in place before this process can serve: schema and search attributes."""

from __future__ import annotations

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError

from service_host.health import Check
from workflows_core.storage.database import Database, is_unavailable
from workflows_core.storage.revision import REQUIRED_REVISION
from workflows_core.wire.names import SEARCH_PARENT, SEARCH_TENANT, SEARCH_VERSION, SEARCH_WORKFLOW

_REQUIRED = (SEARCH_PARENT, SEARCH_TENANT, SEARCH_VERSION, SEARCH_WORKFLOW)


def schema_check(db: Database) -> Check:
    """Ready when the database answers and its schema is the one this build works with."""

    async def check() -> tuple[bool, str]:
        try:
            found = await db.revision()
        except Exception as error:
            if not is_unavailable(error):
                raise
            return False, f"PostgreSQL does not answer: {type(error).__name__}"
        if found == REQUIRED_REVISION:
            return True, f"revision {found}"
        return False, (
            f"the schema is at {found or 'nothing'}, this build needs {REQUIRED_REVISION}; run `workflows db upgrade`"
        )

    return check


def search_attributes_check(client: Client) -> Check:
    """Ready when the namespace knows the search attributes of runs; without them every start fails."""
    known: set[str] = set()

    async def check() -> tuple[bool, str]:
        if not known.issuperset(_REQUIRED):
            request = ListSearchAttributesRequest(namespace=client.namespace)
            try:
                listed = await client.operator_service.list_search_attributes(request)
            except RPCError as error:
                return False, f"Temporal does not say which search attributes it has: {error.message}"
            known.update(listed.custom_attributes)
        missing = [name for name in _REQUIRED if name not in known]
        if missing:
            return False, f"namespace {client.namespace} lacks {', '.join(missing)}; run `workflows setup`"
        return True, "registered"

    return check
