"""Links between entities: the real store and the one for tests mean the same."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any

import pytest
from temporalio.client import Client

from harness.authored import authored_runtime
from harness.interpreted import document
from harness.run_records import rows
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.ports import Edge, EntityLink, EntityLinks
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


def an_operation(chance: random.Random) -> tuple[list[Any], dict[str, Any]]:
    """Its name with what is given to it, and the options."""
    edge = Edge(*(chance.choice(given) for given in (["crm", "b"], ["t"], ["1", "2"], ["r"], ["a"], ["1", "é"])))
    match chance.randrange(7):
        case 0 | 1 | 2:
            given = chance.choice([None, {}, {"n": [0.10, 1e16]}, {"é": {"a": None}}, {"n": "a\0b"}])
            return ["upsert", edge, given], {}
        case 3:
            given = {name: value for name, value in edge._asdict().items() if chance.random() < 0.3}
            return ["list", given], {"limit": chance.choice([2, 100])}
        case 4:
            return ["list_namespaces"], {"limit": chance.choice([1, 100])}
    return [chance.choice(["lookup", "delete"]), edge], {}


class Told:
    """What operations on links give, with the ids by the order in which they come."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}

    async def done(self, links: EntityLinks, operation: str, *given: Any, **options: Any) -> str:
        """What an operation gives or how it fails; its attributes may be changed after."""
        given = deepcopy(given)
        try:
            found = await getattr(links, operation)(*given, **options)
        except ActionFailed as failed:
            return json.dumps(failed.failure.to_json())
        shown = json.dumps([self.shown(one) for one in (found if isinstance(found, (list, tuple)) else [found])])
        for one in given:
            if isinstance(one, dict):
                one["changed"] = "afterwards"
        return shown

    def shown(self, one: Any) -> Any:
        if not isinstance(one, EntityLink):
            return one
        text = json.dumps(one.attributes, sort_keys=True)
        if isinstance(one.attributes, dict):
            one.attributes["changed"] = "afterwards"
        return [self.ids.setdefault(one.link_id, len(self.ids)), one.edge, text]


@pytest.mark.parametrize("seed", range(4))
async def test_the_links_for_tests_do_what_the_real_ones_do(db: Database, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - chosen operations, no secrets
    memory, in_memory, stored = MemoryLinks(), Told(), Told()
    for _ in range(150):
        operation, options = an_operation(chance)
        async with links_of("postgres", db) as links:
            real = await stored.done(links, *operation, **options)
        assert await in_memory.done(memory, *operation, **options) == real, (operation, options)


@pytest.mark.parametrize("kind", ["memory", "postgres"])
async def test_attributes_that_cannot_be_stored_are_refused(db: Database, kind: str) -> None:
    async with links_of(kind, db) as links:
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
