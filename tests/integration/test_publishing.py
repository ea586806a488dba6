"""Drafts and published versions."""

from __future__ import annotations

from typing import Any

import pytest

from harness.authored import TENANT
from harness.interpreted import document, wait
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.registry import ActionRegistry
from workflows_core.definitions.hashing import definition_hash
from workflows_core.errors import Refused
from workflows_core.publishing.publish import import_definition, publish_definition, validate_document
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import find, get_version, list_definitions

pytestmark = pytest.mark.asyncio(loop_scope="session")
REGISTRY = ActionRegistry.of({"core": core_pack(HttpPolicy())})


async def imported(db: Database, content: Any, **options: Any) -> Any:
    async with db.tenant(TENANT) as conn:
        return await import_definition(conn, content, **options)


async def test_a_draft_is_published_as_an_immutable_numbered_version(db: Database) -> None:
    await imported(db, document(wait()))
    first = await publish_definition(db, TENANT, "wf", REGISTRY, published_by="me")
    await imported(db, document())
    second = await publish_definition(db, TENANT, "wf", REGISTRY)
    assert (first.version, second.version) == (1, 2)
    async with db.tenant(TENANT) as conn:
        stored = await get_version(conn, first.workflow_id, 1)
        newest = await get_version(conn, first.workflow_id, None)
        listed = await list_definitions(conn)
    assert stored is not None
    assert newest is not None
    assert (stored.definition["version"], stored.definition["id"]) == (1, first.workflow_id)
    assert definition_hash(stored.definition) == stored.definition_hash == first.definition_hash
    assert (stored.published_by, newest.version) == ("me", 2)
    assert [row.key for row in listed] == ["wf"]


async def test_importing_again_replaces_the_draft_and_keeps_the_workflow(db: Database) -> None:
    one = await imported(db, document())
    two = await imported(db, document(wait()))
    assert (one.workflow_id, one.draft_version + 1) == (two.workflow_id, two.draft_version)


async def test_a_draft_that_changed_meanwhile_is_not_overwritten(db: Database) -> None:
    one = await imported(db, document())
    await imported(db, document(wait()))
    with pytest.raises(Refused, match="DRAFT_CHANGED"):
        await imported(db, document(), expected_draft_version=one.draft_version)


async def test_every_problem_of_a_draft_comes_in_one_refusal_and_nothing_is_published(db: Database) -> None:
    steps = [
        {"id": "a", "type": "transform.assign", "config": {"assign": {"x": {"$expr": "1 +"}}}},
        {"id": "a", "type": "action.call", "config": {"actionId": "store.sett", "version": 1}},
    ]
    await imported(db, document(*steps))
    with pytest.raises(Refused) as refused:
        await publish_definition(db, TENANT, "wf", REGISTRY)
    codes = {problem.code for problem in refused.value.problems}
    assert {"DUPLICATE_STEP_ID", "INVALID_EXPRESSION", "INVALID_ASSIGN_PATH", "UNKNOWN_ACTION"} <= codes
    async with db.tenant(TENANT) as conn:
        draft = await find(conn, "wf")
        assert draft is not None
        assert await get_version(conn, draft.workflow_id, None) is None


async def test_what_cannot_be_imported_or_found_is_refused(db: Database) -> None:
    with pytest.raises(Refused, match="INVALID_WORKFLOW_DEFINITION"):
        await imported(db, {"id": "x"})
    with pytest.raises(Refused, match="KEY_INVALID"):
        await imported(db, document(), key="Not A Key")
    with pytest.raises(Refused, match="WORKFLOW_UNKNOWN"):
        await publish_definition(db, TENANT, "nowhere", REGISTRY)


async def test_a_step_that_cannot_be_read_does_not_hide_what_is_wrong_with_others() -> None:
    def assign(source: str) -> dict[str, Any]:
        return {"type": "transform.assign", "config": {"assign": {"vars.x": {"$expr": source}}}}

    first = {"type": "action.call", "config": {"saveAs": "set_by_the_first", "version": 1}}
    calls = {"type": "action.call", "config": {"actionId": "store.sett", "version": 1}}
    steps = (first, assign("1 +"), assign("vars.set_by_the_first"), calls)
    found = validate_document(document(*steps), REGISTRY)
    assert [(one.code, one.path) for one in found if one.severity == "error"] == [
        ("INVALID_ACTION_CONFIG", "root.steps[0].config.actionId"),
        ("INVALID_EXPRESSION", 'root.steps[1].config.assign["vars.x"]'),
        ("UNKNOWN_ACTION", "root.steps[3].config.actionId"),
    ]


async def test_a_document_can_be_checked_without_storing_it() -> None:
    assert validate_document(document(wait()), REGISTRY, correlation_paths={"*": ("id",)}) == []
    assert [problem.code for problem in validate_document([], REGISTRY)] == ["INVALID_WORKFLOW_DEFINITION"]
