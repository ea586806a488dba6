"""Links between entities, on the caller's connection: what an action writes is committed with its record."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.actions.ports import Edge, EntityLink, EntityLinks
from workflows_core.errors import ActionFailed, ErrorCategory
from workflows_core.storage.json_text import is_storable
from workflows_core.storage.statements import indexed
from workflows_core.storage.tables import as_json, entity_links

_EDGE = tuple(entity_links.c[name] for name in Edge._fields)
_LINK = (entity_links.c.link_id, entity_links.c.attributes, *_EDGE)


class PostgresEntityLinks(EntityLinks):
    """`workflow_entity_links` for one run of one tenant."""

    def __init__(self, conn: AsyncConnection, tenant: str, run_id: str) -> None:
        """Takes a connection in a transaction whose tenant is `tenant`; the run is noted on links it creates."""
        self._conn = conn
        self._tenant = tenant
        self._run_id = run_id

    async def upsert(self, edge: Edge, attributes: Mapping[str, Any] | None) -> tuple[EntityLink, bool]:
        """See the port.

        Raises:
            ActionFailed: The attributes are not ones that the store can keep (`LINK_ATTRIBUTES_INVALID`), or no index
                holds the edge (`INDEXED_VALUE_TOO_LONG`).
        """
        if not is_storable(attributes):
            raise ActionFailed(
                "the attributes have a NUL character or half of a surrogate pair in a text, which no store keeps",
                category=ErrorCategory.VALIDATION,
                code="LINK_ATTRIBUTES_INVALID",
            )
        given = as_json(dict(attributes or {}))
        kept = entity_links.c.attributes if attributes is None else given
        statement = (
            insert(entity_links)
            .values(
                tenant=self._tenant,
                link_id=str(uuid.uuid4()),
                attributes=given,
                created_by_run_id=self._run_id,
                **edge._asdict(),
            )
            .on_conflict_do_update(
                index_elements=["tenant", *Edge._fields],
                set_={"attributes": kept, "updated_at": func.clock_timestamp()},
            )
            # A row that this statement has inserted has no earlier version.
            .returning(*_LINK, literal_column("xmax = 0").label("created"))
        )
        with indexed(edge._asdict()):
            row = (await self._conn.execute(statement)).one()
        return _link(row), bool(row.created)

    async def lookup(self, edge: Edge) -> EntityLink | None:
        """See the port."""
        row = (await self._conn.execute(select(*_LINK).where(*self._where(edge._asdict())))).one_or_none()
        return None if row is None else _link(row)

    async def list(self, given: Mapping[str, str], *, limit: int = 100) -> list[EntityLink]:
        """See the port."""
        statement = select(*_LINK).where(*self._where(given))
        ordered = statement.order_by(entity_links.c.created_at, entity_links.c.link_id).limit(limit)
        return [_link(row) for row in await self._conn.execute(ordered)]

    async def delete(self, edge: Edge) -> bool:
        """See the port."""
        return (await self._conn.execute(delete(entity_links).where(*self._where(edge._asdict())))).rowcount == 1

    async def list_namespaces(self, *, limit: int = 100) -> Sequence[str]:
        """See the port."""
        namespace = entity_links.c.namespace
        statement = select(namespace).where(entity_links.c.tenant == self._tenant).group_by(namespace)
        return (await self._conn.execute(statement.order_by(namespace.collate("C")).limit(limit))).scalars().all()

    def _where(self, given: Mapping[str, str]) -> Sequence[ColumnElement[bool]]:
        return [
            entity_links.c.tenant == self._tenant,
            *(entity_links.c[name] == value for name, value in given.items()),
        ]


def _link(row: Row[Any]) -> EntityLink:
    return EntityLink(row.link_id, Edge(*(getattr(row, name) for name in Edge._fields)), row.attributes)
