"""Whether the namespace is one that runs can be started in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError

from workflows_core.wire.names import SEARCH_PARENT, SEARCH_TENANT, SEARCH_VERSION, SEARCH_WORKFLOW

SEARCH_ATTRIBUTES: Final[Mapping[str, str]] = {
    SEARCH_TENANT: "Keyword",
    SEARCH_WORKFLOW: "Keyword",
    SEARCH_VERSION: "Int",
    SEARCH_PARENT: "Keyword",
}
"""What runs carry, and its type."""

_PREFIX: Final = "INDEXED_VALUE_TYPE_"


async def registered_types(client: Client) -> dict[str, str]:
    """Those of runs that the namespace has, each with the type that it has there.

    Raises:
        RPCError: Temporal does not say.
    """
    request = ListSearchAttributesRequest(namespace=client.namespace)
    listed = (await client.operator_service.list_search_attributes(request)).custom_attributes
    return {
        name: IndexedValueType.Name(listed[name]).removeprefix(_PREFIX).title()
        for name in SEARCH_ATTRIBUTES
        if name in listed
    }


def type_problem(types: Mapping[str, str]) -> str | None:
    """Which of them are of another type than runs need, with which no run starts, and what helps; None for none."""
    wrong = [name for name, kind in types.items() if kind != SEARCH_ATTRIBUTES[name]]
    if not wrong:
        return None
    told = ", ".join(f"{name} is of type {types[name]} and has to be {SEARCH_ATTRIBUTES[name]}" for name in wrong)
    return f"{told}: remove it in Temporal (`temporal operator search-attribute remove`), then run `workflows setup`"


class SearchAttributesCheck:
    """Asks the namespace for the search attributes of runs; without them every start fails.

    Args:
        client: Connected to the namespace.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, str] = {}

    async def __call__(self) -> tuple[bool, str]:
        """True when all are registered, which is remembered; and a sentence for people."""
        if self._known != SEARCH_ATTRIBUTES:
            try:
                self._known = await registered_types(self._client)
            except RPCError as error:
                return False, f"Temporal does not say which search attributes it has: {error.message}"
        missing = sorted(SEARCH_ATTRIBUTES.keys() - self._known.keys())
        if missing:
            return False, f"namespace {self._client.namespace} lacks {', '.join(missing)}; run `workflows setup`"
        wrong = type_problem(self._known)
        if wrong is not None:
            return False, f"namespace {self._client.namespace}: {wrong}"
        return True, "registered"
