"""Links between entities: the real store and the one for tests mean the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from temporalio.client import Client

from harness.authored import authored_runtime
from harness.interpreted import document
from harness.run_records import rows
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.ports import Edge, EntityLinks
from workflows_core.errors import ActionFailed
from workflows_core.storage.database import Database
from workflows_core.storage.entity_links import PostgresEntityLinks
from workflows_core.testing import MemoryLinks

pytestmark = pytest.mark.asyncio(loop_scope="session")
FIRST = Edge("crm", "ticket", "t1", "caused_by", "asset", "a1")
SECOND = FIRST._replace(right_id="a2")
OTHER = FIRST._replace(namespace="billing", relation="bills")


@asynccontextmanager
async def links_of(kind: str, db: Database) -> AsyncIterator[EntityLinks]:
    if kind == "memory":
        yield MemoryLinks()
        return
    async with db.tenant("acme") as conn:
        yield PostgresEntityLinks(conn, "acme", "run")


@pytest.mark.parametrize("kind", ["memory", "postgres"])
async def test_there_is_one_link_of_an_edge_whose_attributes_change(db: Database, kind: str) -> None:
    async with links_of(kind, db) as links:
        made, created = await links.upsert(FIRST, {"since": 2020})
        assert (created, made.attributes) == (True, {"since": 2020})
        again, created = await links.upsert(FIRST, None)
        assert (created, again.link_id, again.attributes) == (False, made.link_id, {"since": 2020})
        changed, _ = await links.upsert(FIRST, {"since": 2021})
        assert changed.attributes == {"since": 2021}
        assert await links.lookup(FIRST) == changed
        assert await links.lookup(SECOND) is None
        assert await links.delete(FIRST) is True
        assert await links.delete(FIRST) is False


@pytest.mark.parametrize("kind", ["memory", "postgres"])
async def test_links_are_listed_by_what_is_given(db: Database, kind: str) -> None:
    async with links_of(kind, db) as links:
        for edge in (FIRST, SECOND, OTHER):
            await links.upsert(edge, None)
        both = await links.list({"namespace": "crm", "left_id": "t1"})
        assert {link.edge for link in both} == {FIRST, SECOND}
        assert [link.edge for link in await links.list({"namespace": "crm", "right_id": "a2"})] == [SECOND]
        assert len(await links.list({"namespace": "crm"}, limit=1)) == 1
        assert await links.list({"namespace": "none"}) == []
        assert list(await links.list_namespaces()) == ["billing", "crm"]


async def test_attributes_that_cannot_be_stored_are_refused(db: Database) -> None:
    async with links_of("postgres", db) as links:
        with pytest.raises(ActionFailed, match="NUL") as refused:
            await links.upsert(FIRST, {"name": "a\0b"})
    assert refused.value.failure.code == "LINK_ATTRIBUTES_INVALID"


async def test_a_run_links_once_and_reads_what_it_linked(db: Database, client: Client) -> None:
    def step(action: str, save_as: str, **mapping: Any) -> dict[str, Any]:
        config = {"actionId": action, "version": 1, "inputMapping": mapping, "saveAs": save_as}
        return {"type": "action.call", "config": config}

    edge = FIRST._asdict()
    steps = [
        step("links.upsert", "made", **edge, attributes={"n": 1}),
        step("links.lookup", "found", **edge),
        step("links.list", "listed", namespace="crm"),
        step("links.list_namespaces", "spaces"),
        step("links.delete", "gone", **edge),
        step("store.set", "set", namespace="numbers", key="k", value=1),
        step("store.list_namespaces", "stores"),
    ]
    async with authored_runtime(db, client, more={"core": core_pack(HttpPolicy())}) as authored:
        run = await authored.start(document(*steps))
        found = (await run.handle.result())["scopes"]["vars"]
    assert found["made"]["created"] is True
    assert found["found"]["link"] == {"link_id": found["made"]["link_id"], **edge, "attributes": {"n": 1}}
    assert [link["right_id"] for link in found["listed"]["items"]] == ["a1"]
    assert (found["spaces"]["namespaces"], found["gone"]["deleted"]) == (["crm"], True)
    assert found["stores"]["namespaces"] == ["numbers"]
    assert await rows(db, "workflow_entity_links") == []
