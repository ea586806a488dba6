"""The tenant's key-value store, on the caller's connection: what an action writes is committed with its record."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Numeric, Text, case, cast, delete, func, literal, null, or_, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.actions.ports import KeyValueStore, StoredValue
from workflows_core.errors import ActionFailed, ErrorCategory
from workflows_core.storage.json_text import is_storable
from workflows_core.storage.statements import indexed
from workflows_core.storage.tables import as_json, data_store

MAX_LISTED = 1000
"""Most values that one `list` answers."""

_FORGOTTEN_AT_ONCE = 10

_JSON_NULL = cast(literal("null", Text), JSONB)


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A value as read; implements the port `StoredValue`."""

    key: str
    value: Any
    revision: int


class PostgresKeyValueStore(KeyValueStore):
    """`workflow_data_store` for one run of one tenant. An expired value is as if it were not there."""

    def __init__(self, conn: AsyncConnection, tenant: str, run_id: str) -> None:
        """Takes a connection in a transaction whose tenant is `tenant`; the run is noted on values it creates."""
        self._conn = conn
        self._tenant = tenant
        self._run_id = run_id

    async def get(self, namespace: str, key: str) -> StoredRow | None:
        """See the port."""
        statement = _stored().where(*self._place(namespace, key), _live())
        row = (await self._conn.execute(statement)).one_or_none()
        return None if row is None else StoredRow(row.key, row.value, row.revision)

    async def set(self, namespace: str, key: str, value: Any, *, ttl_ms: int | None = None) -> StoredRow:
        """See the port.

        Raises:
            ActionFailed: The value is not one that the store can keep (`STORE_VALUE_INVALID`).
        """
        if not is_storable(value):
            raise _invalid("the value has a NUL character or half of a surrogate pair in a text, which no store keeps")
        if ttl_ms is not None:
            await self._forget_expired()
        stored = _JSON_NULL if value is None else as_json(value)
        expires = null() if ttl_ms is None else func.clock_timestamp() + timedelta(milliseconds=ttl_ms)
        return await self._write(namespace, key, stored, {"value": stored, "expires_at": expires}, expires)

    async def delete(self, namespace: str, key: str) -> bool:
        """See the port."""
        statement = delete(data_store).where(*self._place(namespace, key)).returning(_live().label("live"))
        row = (await self._conn.execute(statement)).one_or_none()
        return row is not None and bool(row.live)

    async def increment(self, namespace: str, key: str, by: float) -> StoredRow:
        """See the port; the time to live stays. Decimal arithmetic, so that 0.1 ten times is 1.

        Raises:
            ActionFailed: The value is not a number (`STORE_NOT_A_NUMBER`), or `by` is not finite
                (`STORE_VALUE_INVALID`).
        """
        require_addable(by)
        amount = cast(literal(repr(by), Text), Numeric)
        sum_ = cast(func.trim_scale(cast(cast(data_store.c.value, Text), Numeric) + amount), Text)
        added = {
            "value": case((_live(), cast(sum_, JSONB)), else_=as_json(by)),
            "expires_at": case((_live(), data_store.c.expires_at), else_=null()),
        }
        is_number = or_(func.jsonb_typeof(data_store.c.value) == "number", ~_live())
        return await self._write(namespace, key, as_json(by), added, null(), only_if=is_number)

    async def list(self, namespace: str, *, prefix: str = "", limit: int = 100) -> list[StoredValue]:
        """See the port; at most `MAX_LISTED`."""
        statement = (
            _stored()
            .where(
                data_store.c.tenant == self._tenant,
                data_store.c.namespace == namespace,
                data_store.c.key.startswith(prefix, autoescape=True),
                _live(),
            )
            .order_by(data_store.c.key.collate("C"))
            .limit(min(limit, MAX_LISTED))
        )
        return [StoredRow(row.key, row.value, row.revision) for row in await self._conn.execute(statement)]

    async def list_namespaces(self, *, limit: int = 100) -> Sequence[str]:
        """See the port."""
        namespace = data_store.c.namespace
        statement = select(namespace).where(data_store.c.tenant == self._tenant, _live()).group_by(namespace)
        return (await self._conn.execute(statement.order_by(namespace.collate("C")).limit(limit))).scalars().all()

    async def _write(
        self,
        namespace: str,
        key: str,
        first: ColumnElement[Any],
        later: dict[str, Any],
        expires: ColumnElement[Any],
        only_if: ColumnElement[bool] | None = None,
    ) -> StoredRow:
        def anew(kept: Any, fresh: Any) -> Any:
            return case((_live(), kept), else_=fresh)

        statement = (
            insert(data_store)
            .values(
                tenant=self._tenant,
                namespace=namespace,
                key=key,
                value=first,
                revision=1,
                expires_at=expires,
                created_by_run_id=self._run_id,
            )
            .on_conflict_do_update(
                index_elements=["tenant", "namespace", "key"],
                set_={
                    **later,
                    "revision": anew(data_store.c.revision + 1, literal(1, BigInteger)),
                    "created_by_run_id": anew(data_store.c.created_by_run_id, self._run_id),
                    "created_at": anew(data_store.c.created_at, func.clock_timestamp()),
                    "updated_at": func.clock_timestamp(),
                },
                where=only_if,
            )
            .returning(data_store.c.key, data_store.c.value, data_store.c.revision)
        )
        with indexed({"namespace": namespace, "key": key}):
            row = (await self._conn.execute(statement)).one_or_none()
        if row is None:
            raise ActionFailed(
                f"the value at {namespace!r}, {key!r} is not a number, so nothing can be added to it",
                category=ErrorCategory.VALIDATION,
                code="STORE_NOT_A_NUMBER",
            )
        return StoredRow(row.key, row.value, row.revision)

    async def _forget_expired(self) -> None:
        """Takes away values of the tenant whose time is over: more than are added, so that they do not pile up.

        None that somebody else has hold of. An expired value is written anew as if it were not there, so that nobody
        can tell whether it was.
        """
        mine = data_store.c.tenant == self._tenant
        over = (
            select(data_store.c.namespace, data_store.c.key)
            .where(mine, data_store.c.expires_at <= func.now())
            .order_by(data_store.c.expires_at)
            .limit(_FORGOTTEN_AT_ONCE)
            .with_for_update(skip_locked=True)
            .cte("over")
            .prefix_with("MATERIALIZED")
        )
        same = (data_store.c.namespace == over.c.namespace) & (data_store.c.key == over.c.key)
        await self._conn.execute(delete(data_store).where(mine, same))

    def _place(self, namespace: str, key: str) -> tuple[ColumnElement[bool], ...]:
        return (
            data_store.c.tenant == self._tenant,
            data_store.c.namespace == namespace,
            data_store.c.key == key,
        )


def require_addable(by: float) -> None:
    """Does nothing for what can be added.

    Raises:
        ActionFailed: `STORE_VALUE_INVALID`: infinity, no number, or more than any double.
    """
    if not abs(by) <= sys.float_info.max:
        raise _invalid(f"what is added must be a finite number, {sys.float_info.max:.2g} at most")


def _stored() -> Any:
    return select(data_store.c.key, data_store.c.value, data_store.c.revision)


def _live() -> ColumnElement[bool]:
    return or_(data_store.c.expires_at.is_(None), data_store.c.expires_at > func.clock_timestamp())


def _invalid(message: str) -> ActionFailed:
    return ActionFailed(message, category=ErrorCategory.VALIDATION, code="STORE_VALUE_INVALID")
