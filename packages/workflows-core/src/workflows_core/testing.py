"""For authors of action packs: call an action as the runtime does, without any server.

Input, secrets, schemas, time limit, output and its size are checked by the runtime's own code.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any, Final

from workflows_core.actions.action import Effect
from workflows_core.actions.ports import Edge, EntityLink, EntityLinks, KeyValueStore, StoredValue
from workflows_core.actions.registry import ActionRegistry, Pack
from workflows_core.actions.secrets import MappingSecrets
from workflows_core.errors import ActionFailed, ErrorCategory, StepFailed
from workflows_core.execution.failures import action_unavailable
from workflows_core.execution.handlers import Surroundings, call_handler
from workflows_core.execution.policy import RunPolicy
from workflows_core.storage.json_text import is_storable, json_text
from workflows_core.storage.key_values import MAX_LISTED, require_addable
from workflows_core.wire.compact import idempotency_key_of
from workflows_core.wire.records import ActionCall

RUN_ID = "run-under-test"
STEP_PATH = "root.steps[0]"

_SUM_DIGITS: Final = 2_000
"""More than a sum of the largest and the smallest float has."""


def check_pack(pack: Pack) -> ActionRegistry:
    """The pack's actions, registered.

    Raises:
        Refused: With everything that is wrong, as a service would refuse to start.
    """
    return ActionRegistry.of({"pack": pack})


async def call_action(
    pack: Pack,
    action_id: str,
    value: Any,
    *,
    version: int = 1,
    secrets: Mapping[str, str] | None = None,
    store: KeyValueStore | None = None,
    links: EntityLinks | None = None,
    tenant_id: str = "tenant-under-test",
    attempt: int = 1,
    idempotency_key: str | None = None,
) -> Any:
    """An action's output, as a run would get it.

    Args:
        pack: The pack that has it.
        action_id: Its id.
        value: The input; `{"$secret": NAME}` in it is resolved.
        version: Its version.
        secrets: Values of secrets by name.
        store: For a transactional action; an empty `MemoryStore` by default.
        links: For a transactional action; an empty `MemoryLinks` by default.
        tenant_id: Whose run it is.
        attempt: The authored attempt.
        idempotency_key: As the handler sees it; by default that of a run's first step.

    Raises:
        StepFailed: The failure that a run would get; `failure` has category, code, message and details.
        Refused: The pack itself is wrong.
    """
    action = check_pack(pack).get(action_id, version)
    if action is None:
        raise StepFailed(action_unavailable(action_id, version))
    call: Any = {
        "step_path": STEP_PATH,
        "attempt": attempt,
        "idempotency_key": idempotency_key or idempotency_key_of(RUN_ID, STEP_PATH),
        "input": value,
    }
    typed: ActionCall = call
    around = Surroundings()
    if action.effect is Effect.TRANSACTIONAL:
        around = Surroundings(store or MemoryStore(), links or MemoryLinks())
    return await call_handler(
        action,
        typed,
        tenant_id,
        RUN_ID,
        MappingSecrets(secrets or {}),
        around,
        max_output_bytes=RunPolicy().output_bytes_of(action),
    )


@dataclass(frozen=True, slots=True)
class _Stored:
    key: str
    text: str
    revision: int
    expires_at: datetime | None

    @property
    def value(self) -> Any:
        """A copy each time, as from a database."""
        return _read(self.text)


@dataclass
class MemoryStore:
    """A key-value store in memory, with the meaning of the real one."""

    _rows: dict[tuple[str, str], _Stored] = field(default_factory=dict)

    async def get(self, namespace: str, key: str) -> StoredValue | None:
        """See `KeyValueStore.get`."""
        return self._live(namespace, key)

    async def set(self, namespace: str, key: str, value: Any, *, ttl_ms: int | None = None) -> StoredValue:
        """See `KeyValueStore.set`."""
        if not is_storable(value):
            raise _invalid("the value has a NUL character or half of a surrogate pair in a text, which no store keeps")
        expires_at = None if ttl_ms is None else datetime.now(UTC) + timedelta(milliseconds=ttl_ms)
        return self._write(namespace, key, json_text(value), expires_at)

    async def delete(self, namespace: str, key: str) -> bool:
        """See `KeyValueStore.delete`."""
        was_there = self._live(namespace, key) is not None
        self._rows.pop((namespace, key), None)
        return was_there

    async def increment(self, namespace: str, key: str, by: float) -> StoredValue:
        """See `KeyValueStore.increment`; the time to live stays, and the sum is one of decimals."""
        require_addable(by)
        before = self._live(namespace, key)
        if before is None:
            return self._write(namespace, key, json_text(by), None)
        if type(before.value) not in (int, float):
            message = f"the value at {namespace!r}, {key!r} is not a number, so nothing can be added to it"
            raise ActionFailed(message, category=ErrorCategory.VALIDATION, code="STORE_NOT_A_NUMBER")
        return self._write(namespace, key, _sum(before.text, repr(by)), before.expires_at)

    async def list(self, namespace: str, *, prefix: str = "", limit: int = 100) -> list[StoredValue]:
        """See `KeyValueStore.list`."""
        keys = sorted(key for space, key in self._rows if space == namespace and key.startswith(prefix))
        live: list[StoredValue | None] = [self._live(namespace, key) for key in keys]
        return [row for row in live if row is not None][: min(limit, MAX_LISTED)]

    async def list_namespaces(self, *, limit: int = 100) -> Sequence[str]:
        """See `KeyValueStore.list_namespaces`."""
        return sorted({space for space, key in self._rows if self._live(space, key) is not None})[:limit]

    def _live(self, namespace: str, key: str) -> _Stored | None:
        row = self._rows.get((namespace, key))
        if row is None or (row.expires_at is not None and row.expires_at <= datetime.now(UTC)):
            return None
        return row

    def _write(self, namespace: str, key: str, text: str, expires_at: datetime | None) -> _Stored:
        before = self._live(namespace, key)
        row = _Stored(key, text, 1 if before is None else before.revision + 1, expires_at)
        self._rows[namespace, key] = row
        return row


@dataclass
class MemoryLinks:
    """Links in memory, with the meaning of the real ones."""

    _links: dict[Edge, tuple[str, str]] = field(default_factory=dict)

    async def upsert(self, edge: Edge, attributes: Mapping[str, Any] | None) -> tuple[EntityLink, bool]:
        """See `EntityLinks.upsert`."""
        if not is_storable(attributes):
            message = "the attributes have a NUL character or half of a surrogate pair in a text, which no store keeps"
            raise ActionFailed(message, category=ErrorCategory.VALIDATION, code="LINK_ATTRIBUTES_INVALID")
        before = self._links.get(edge)
        link_id, kept = (str(uuid.uuid4()), "{}") if before is None else before
        self._links[edge] = link_id, kept if attributes is None else json_text(dict(attributes))
        return self._link(edge), before is None

    async def lookup(self, edge: Edge) -> EntityLink | None:
        """See `EntityLinks.lookup`."""
        return self._link(edge) if edge in self._links else None

    async def list(self, given: Mapping[str, str], *, limit: int = 100) -> list[EntityLink]:
        """See `EntityLinks.list`."""
        return [self._link(edge) for edge in self._links if given.items() <= edge._asdict().items()][:limit]

    async def delete(self, edge: Edge) -> bool:
        """See `EntityLinks.delete`."""
        return self._links.pop(edge, None) is not None

    async def list_namespaces(self, *, limit: int = 100) -> Sequence[str]:
        """See `EntityLinks.list_namespaces`."""
        return sorted({edge.namespace for edge in self._links})[:limit]

    def _link(self, edge: Edge) -> EntityLink:
        link_id, attributes = self._links[edge]
        return EntityLink(link_id, edge, _read(attributes))


def _read(text: str) -> Any:
    """The value that PostgreSQL gives back for a JSON text."""
    return json.loads(text, parse_float=_number)


def _number(text: str) -> float:
    """PostgreSQL writes every digit and no exponent, so a large float comes back whole; it has no negative zero."""
    digits = format(Decimal(text), "f")
    return float(digits) + 0.0 if "." in digits else int(digits)


def _sum(number: str, other: str) -> str:
    """The sum of two numbers in decimals: 0.1 and 0.2 are 0.3."""
    with localcontext(prec=_SUM_DIGITS):
        digits = format(Decimal(number) + Decimal(other), "f")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _invalid(message: str) -> ActionFailed:
    return ActionFailed(message, category=ErrorCategory.VALIDATION, code="STORE_VALUE_INVALID")
