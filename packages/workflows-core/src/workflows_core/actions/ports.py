"""What handlers need from outside; `storage` and the services implement it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


class SecretProvider(Protocol):
    """Resolves `{"$secret": NAME}` for a tenant."""

    async def get(self, tenant_id: str, name: str) -> str | None:
        """The value, or None when there is no such secret."""
        ...


class KeyValueStore(Protocol):
    """A tenant's store (`workflow_data_store`), one row per (namespace, key), with a revision."""

    async def get(self, namespace: str, key: str) -> StoredValue | None:
        """The live value, or None when absent or expired."""
        ...

    async def set(self, namespace: str, key: str, value: Any, *, ttl_ms: int | None = None) -> StoredValue:
        """Writes the value; `ttl_ms` in milliseconds, None for ever."""
        ...

    async def delete(self, namespace: str, key: str) -> bool:
        """True when there was a live value."""
        ...

    async def increment(self, namespace: str, key: str, by: float) -> StoredValue:
        """Adds to a number (absent counts as 0).

        Raises:
            ActionFailed: The value is not a number (`STORE_NOT_A_NUMBER`).
        """
        ...

    async def list(self, namespace: str, *, prefix: str = "", limit: int = 100) -> list[StoredValue]:
        """Live values by key, ascending."""
        ...

    async def list_namespaces(self, *, limit: int = 100) -> Sequence[str]:
        """Namespaces that have live values, by name."""
        ...


class StoredValue(Protocol):
    """A value of the store as read."""

    @property
    def key(self) -> str:
        """Key inside its namespace."""
        ...

    @property
    def value(self) -> Any:
        """JSON value."""
        ...

    @property
    def revision(self) -> int:
        """From 1, plus 1 at each write."""
        ...


class Edge(NamedTuple):
    """A directed edge between two entities; there is one at most of each."""

    namespace: str
    left_type: str
    left_id: str
    relation: str
    right_type: str
    right_id: str


@dataclass(frozen=True, slots=True)
class EntityLink:
    """An edge as it is stored."""

    link_id: str
    edge: Edge
    attributes: Mapping[str, Any]


class EntityLinks(Protocol):
    """A tenant's links (`workflow_entity_links`)."""

    async def upsert(self, edge: Edge, attributes: Mapping[str, Any] | None) -> tuple[EntityLink, bool]:
        """Makes the link, or replaces its attributes (None: they stay); and whether it is new."""
        ...

    async def lookup(self, edge: Edge) -> EntityLink | None:
        """The link, or None."""
        ...

    async def list(self, given: Mapping[str, str], *, limit: int = 100) -> list[EntityLink]:
        """Links for which every given part of the edge agrees, oldest first."""
        ...

    async def delete(self, edge: Edge) -> bool:
        """True when it was there."""
        ...

    async def list_namespaces(self, *, limit: int = 100) -> Sequence[str]:
        """Namespaces that have links, by name."""
        ...


ActionObserver = Callable[[str, Mapping[str, str]], AbstractContextManager[object]]
"""Is told of each call of an action, by `id@version` and the facts tenant, run, step and attempt as text.

The block that it gives is around the handler.
"""


class StepQuota(Protocol):
    """How many steps a tenant may still run; asked before each regular action. Without one there is no limit.

    A start that Temporal repeats, since its worker or the database was lost, asks only if the one before could not.
    """

    async def reserve(self, tenant_id: str, run_id: str, steps: int) -> Mapping[str, Any] | None:
        """Takes so many steps from what is left: the action's, and those done since the last one.

        Returns:
            None when they are taken; else what people should know (`periodEnd`, `usedCount`, `effectiveLimit`): the run
            waits for signal `workflowRuntimeV2QuotaResume`, and asks again then.
        """
        ...
