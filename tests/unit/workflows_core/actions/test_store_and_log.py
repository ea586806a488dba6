"""`store.*` through the port, and `log.write`. The database's own store is tested with the database."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness.actions import Core
from workflows_core.actions.action import Effect
from workflows_core.actions.key_values import MAX_VALUE_BYTES
from workflows_core.actions.logs import MAX_CONTEXT_BYTES
from workflows_core.actions.ports import KeyValueStore, StoredValue
from workflows_core.errors import ActionFailed, ErrorCategory

CORE = Core()
AT = {"namespace": "counters", "key": "orders"}


@dataclass
class Stored:
    key: str
    value: Any
    revision: int


@dataclass
class MemoryStore(KeyValueStore):
    """The port over a dictionary; `ttls` are what was asked for."""

    rows: dict[tuple[str, str], Stored] = field(default_factory=dict)
    ttls: list[int | None] = field(default_factory=list)

    async def get(self, namespace: str, key: str) -> StoredValue | None:
        return self.rows.get((namespace, key))

    async def set(self, namespace: str, key: str, value: Any, *, ttl_ms: int | None = None) -> StoredValue:
        before = self.rows.get((namespace, key))
        self.ttls.append(ttl_ms)
        row = self.rows[namespace, key] = Stored(key, value, before.revision + 1 if before else 1)
        return row

    async def delete(self, namespace: str, key: str) -> bool:
        return self.rows.pop((namespace, key), None) is not None

    async def increment(self, namespace: str, key: str, by: float) -> StoredValue:
        before = self.rows.get((namespace, key))
        return await self.set(namespace, key, (before.value if before else 0) + by)

    async def list(self, namespace: str, *, prefix: str = "", limit: int = 100) -> list[StoredValue]:
        found = [
            row for (space, key), row in sorted(self.rows.items()) if space == namespace and key.startswith(prefix)
        ]
        return [*found[:limit]]

    async def list_namespaces(self, *, limit: int = 100) -> Sequence[str]:
        return sorted({space for space, _ in self.rows})[:limit]


@pytest.mark.asyncio
async def test_a_value_is_written_read_and_deleted() -> None:
    store = MemoryStore()
    assert await CORE.call("store.get", AT, store=store) == {"found": False, "value": None, "revision": None}
    assert await CORE.call("store.set", {**AT, "value": {"n": [1]}}, store=store) == {"revision": 1, "created": True}
    assert await CORE.call("store.set", {**AT, "value": None}, store=store) == {"revision": 2, "created": False}
    assert await CORE.call("store.get", AT, store=store) == {"found": True, "value": None, "revision": 2}
    assert await CORE.call("store.delete", AT, store=store) == {"deleted": True}
    assert await CORE.call("store.delete", AT, store=store) == {"deleted": False}


@pytest.mark.asyncio
async def test_a_time_to_live_is_given_in_seconds() -> None:
    store = MemoryStore()
    await CORE.call("store.set", {**AT, "value": 1, "ttl_seconds": 90}, store=store)
    await CORE.call("store.set", {**AT, "value": 1}, store=store)
    assert store.ttls == [90_000, None]


@pytest.mark.asyncio
async def test_numbers_are_added() -> None:
    store = MemoryStore()
    assert await CORE.call("store.increment", AT, store=store) == {"value": 1, "revision": 1}
    assert await CORE.call("store.increment", {**AT, "by": -2.5}, store=store) == {"value": -1.5, "revision": 2}


@pytest.mark.asyncio
@pytest.mark.parametrize("sign", [1, -1])
async def test_a_sum_that_no_number_holds_is_told_as_such(sign: int) -> None:
    """It was told as an output that is not as declared, as if the action were at fault."""
    store = MemoryStore()
    await store.set("counters", "orders", sign * 1.7e308)
    assert await CORE.call("store.increment", {**AT, "by": -sign}, store=store)
    with pytest.raises(
        ActionFailed, match=r"the sum at .counters., .orders. is beyond the largest number, 1\.8e\+308"
    ) as failed:
        await CORE.call("store.increment", {**AT, "by": sign * 1.7e308}, store=store)
    assert (failed.value.failure.category, failed.value.failure.code) == ("ValidationError", "STORE_VALUE_INVALID")


@pytest.mark.asyncio
async def test_values_are_listed_by_prefix() -> None:
    store = MemoryStore()
    for key in ("b2", "a", "b1", "b3"):
        await store.set("n", key, key.upper())
    listed = await CORE.call("store.list", {"namespace": "n", "prefix": "b", "limit": 2}, store=store)
    assert listed == {
        "items": [{"key": "b1", "value": "B1", "revision": 1}, {"key": "b2", "value": "B2", "revision": 1}]
    }
    assert len((await CORE.call("store.list", {"namespace": "n"}, store=store))["items"]) == 4


@pytest.mark.asyncio
async def test_a_value_over_the_limit_is_refused() -> None:
    store = MemoryStore()
    await CORE.call("store.set", {**AT, "value": "x" * (MAX_VALUE_BYTES - 2)}, store=store)
    with pytest.raises(ActionFailed, match=f"at most {MAX_VALUE_BYTES}") as failed:
        await CORE.call("store.set", {**AT, "value": "é" * (MAX_VALUE_BYTES // 2)}, store=store)
    assert failed.value.failure.category == ErrorCategory.PAYLOAD_TOO_LARGE
    assert len(store.ttls) == 1


@pytest.mark.asyncio
async def test_outside_a_transaction_there_is_no_store() -> None:
    with pytest.raises(ActionFailed) as failed:
        await CORE.call("store.get", AT)
    assert failed.value.failure.code == "STORE_UNAVAILABLE"


def test_every_store_action_is_transactional() -> None:
    effects = {action.effect for action in CORE.registry if action.id.startswith("store.")}
    assert effects == {Effect.TRANSACTIONAL}


@pytest.mark.asyncio
async def test_a_line_is_written_with_level_and_context(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.LoggerAdapter(logging.getLogger("tests.line"), {"run_id": "run-9"})
    caplog.set_level(logging.DEBUG, "tests.line")
    for level in ("DEBUG", "INFO", "WARN", "ERROR"):
        await CORE.call("log.write", {"message": "100 % of %s", "level": level, "context": {"a": 1}}, logger=logger)
    await CORE.call("log.write", {"message": "plain"}, logger=logger)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("DEBUG", "100 % of %s"),
        ("INFO", "100 % of %s"),
        ("WARNING", "100 % of %s"),
        ("ERROR", "100 % of %s"),
        ("INFO", "plain"),
    ]
    assert [r.__dict__["context_json"] for r in caplog.records] == [{"a": 1}] * 4 + [None]
    assert {r.__dict__["run_id"] for r in caplog.records} == {"run-9"}


@pytest.mark.asyncio
async def test_a_context_over_the_limit_is_replaced_by_its_size(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tests.actions")
    await CORE.call("log.write", {"message": "m", "context": {"a": "x" * MAX_CONTEXT_BYTES}})
    expected = {"truncated": True, "size": MAX_CONTEXT_BYTES + len('{"a": ""}'), "max": MAX_CONTEXT_BYTES}
    assert caplog.records[0].__dict__["context_json"] == expected
