"""Bundles in and out of the database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from harness.authored import Effects
from harness.authored import test_pack as act_pack
from harness.interpreted import act, document
from harness.run_records import TENANT
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.registry import ActionRegistry
from workflows_core.errors import Refused
from workflows_core.publishing.bundle import export_bundle, import_bundle, read_bundle
from workflows_core.publishing.publish import import_definition, validate_document
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import find, list_definitions, list_versions, set_operation
from workflows_core.storage.schedules import list_schedules

pytestmark = pytest.mark.asyncio(loop_scope="session")
REGISTRY = ActionRegistry.of({"core": core_pack(HttpPolicy()), "test": act_pack(Effects())})
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def one(key: str, *versions: dict[str, Any], draft: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {
        "key": key,
        "metadata": metadata,
        "draft": {"draftVersion": 1, "definition": draft or document(act())},
        "publishedVersions": [{"version": v["version"], "definition": v} for v in versions],
    }


def bundle(*workflows: dict[str, Any]) -> dict[str, Any]:
    return {"format": "alga-psa.workflow-bundle", "formatVersion": 1, "exportedAt": "", "workflows": list(workflows)}


def shape(exported: dict[str, Any]) -> list[Any]:
    """What a round trip must keep: everything but ids, which are the tenant's own."""
    return [
        (
            workflow["key"],
            workflow["draft"]["definition"],
            workflow["metadata"],
            workflow["dependencies"],
            [{**version["definition"], "id": ""} for version in workflow["publishedVersions"]],
        )
        for workflow in exported["workflows"]
    ]


async def test_documents_that_no_run_could_load_are_refused_each_at_its_place(db: Database) -> None:
    large = document(*(act(f"v{number}") for number in range(3_000)))
    given = bundle(one("first", draft=large), one("second", large))
    async with db.tenant(TENANT) as conn:
        with pytest.raises(Refused) as refused:
            await import_bundle(conn, given, REGISTRY, allow_problems=True)
        with pytest.raises(Refused, match="DEFINITION_TOO_LARGE"):
            await import_definition(conn, large, key="third")
        assert {row.key for row in await list_definitions(conn)}.isdisjoint({"first", "second", "third"})
    assert [(one.code, one.path.partition(" root.steps[")[0]) for one in refused.value.problems] == [
        ("DEFINITION_TOO_LARGE", "first draft"),
        ("DEFINITION_TOO_LARGE", "second@1"),
    ]
    (problem,) = validate_document(large, REGISTRY)
    assert problem.code == "DEFINITION_TOO_LARGE"


async def test_a_bundle_goes_round(db: Database) -> None:
    first, second = ({**document(act(f"v{n}")), "version": n} for n in (1, 2))
    given = bundle(one("orders", second, first, isPaused=True, concurrencyLimit=3), one("drafted"))
    async with db.tenant(TENANT) as conn:
        imported = await import_bundle(conn, given, REGISTRY)
        exported = await export_bundle(conn, ["orders", "drafted"], NOW)
    assert [(i.row.key, i.row.published_version, i.versions) for i in imported] == [
        ("orders", 2, [1, 2]),
        ("drafted", None, []),
    ]
    assert [v["definition"]["steps"][0]["config"]["saveAs"] for v in exported["workflows"][0]["publishedVersions"]] == [
        "v1",
        "v2",
    ]
    async with db.tenant("another") as conn:
        await import_bundle(conn, exported, REGISTRY)
        again = await export_bundle(conn, ["orders", "drafted"], NOW)
    assert shape(again) == shape(exported)
    assert exported["workflows"][0]["metadata"]["isPaused"] is True
    assert exported["workflows"][0]["dependencies"]["actions"] == [{"actionId": "test.act", "version": 1}]


async def test_published_versions_that_are_there_stay(db: Database) -> None:
    async with db.tenant(TENANT) as conn:
        await import_bundle(conn, bundle(one("orders", {**document(act("old")), "version": 1})), REGISTRY)
        newer = bundle(one("orders", {**document(act("new")), "version": 1}, draft=document(act("new"))))
        await import_bundle(conn, newer, REGISTRY)
        row = await find(conn, "orders")
        assert row is not None
        (version,) = await list_versions(conn, row.workflow_id)
    assert version.definition["steps"][0]["config"]["saveAs"] == "old"
    assert row.draft_definition["steps"][0]["config"]["saveAs"] == "new"


async def test_what_publishing_would_refuse_is_refused_of_the_newest_version_and_nothing_is_stored(
    db: Database,
) -> None:
    unknown = {"type": "action.call", "config": {"actionId": "test.nope", "version": 1}}
    calls = {"type": "control.callWorkflow", "workflowId": "ready", "workflowVersion": 3}
    broken = {**document(unknown, calls), "version": 2}
    older = {**document(unknown), "version": 1}
    ready = [{**document(), "version": number} for number in (1, 2)]
    given = bundle(one("orders", older, broken), one("ready", *ready))
    async with db.tenant(TENANT) as conn:
        with pytest.raises(Refused) as refused:
            await import_bundle(conn, given, REGISTRY)
        assert await list_definitions(conn) == []
    found = {(p.severity, p.code, p.path) for p in refused.value.problems}
    assert {
        ("warning", "UNKNOWN_ACTION", "orders@1 root.steps[0].config.actionId"),
        ("error", "UNKNOWN_ACTION", "orders@2 root.steps[0].config.actionId"),
        ("error", "CALLEE_VERSION_UNKNOWN", "orders@2 root.steps[1].workflowVersion"),
        ("warning", "BUNDLE_NOT_IMPORTED", ""),
    } <= found
    async with db.tenant(TENANT) as conn:
        orders, other = await import_bundle(conn, given, REGISTRY, allow_problems=True)
    assert ("error", "UNKNOWN_ACTION") in {(p.severity, p.code) for p in orders.problems}
    assert (orders.versions, orders.row.published_version) == ([1, 2], 2)
    assert [p for p in other.problems if p.severity == "error"] == []


async def test_an_older_version_that_could_not_be_published_is_a_warning(db: Database) -> None:
    unknown = {"type": "action.call", "config": {"actionId": "test.nope", "version": 1}}
    given = bundle(one("orders", {**document(unknown), "version": 1}, {**document(), "version": 2}))
    async with db.tenant(TENANT) as conn:
        (orders,) = await import_bundle(conn, given, REGISTRY)
    assert {p.severity for p in orders.problems} == {"warning"}
    assert "UNKNOWN_ACTION" in {p.code for p in orders.problems}


async def test_versions_may_call_what_comes_later_in_the_bundle_and_themselves_but_not_their_next(
    db: Database,
) -> None:
    def calling(*callees: tuple[str, int]) -> dict[str, Any]:
        steps = [{"type": "control.callWorkflow", "workflowId": key, "workflowVersion": n} for key, n in callees]
        return {**document(*steps), "version": 1}

    good = bundle(one("caller", calling(("callee", 1), ("caller", 1))), one("callee", {**document(), "version": 1}))
    async with db.tenant(TENANT) as conn:
        caller, _ = await import_bundle(conn, good, REGISTRY)
    assert {p.code for p in caller.problems if "calls itself" in p.message} == {"CALL_CYCLE"}
    async with db.tenant("another") as conn:
        with pytest.raises(Refused) as refused:
            await import_bundle(conn, bundle(one("caller", calling(("caller", 2)))), REGISTRY)
    assert refused.value.code == "CALLEE_VERSION_UNKNOWN"


async def test_every_document_that_cannot_be_read_is_named_at_once_whatever_is_allowed(db: Database) -> None:
    given = bundle(one("orders", {"version": 1}), one("Not A Key"), one("drafted", draft={"id": "x"}))
    async with db.tenant(TENANT) as conn:
        with pytest.raises(Refused) as refused:
            await import_bundle(conn, given, REGISTRY, allow_problems=True)
        assert await list_definitions(conn) == []
    places = {problem.path.partition(" ")[0] + " " + problem.code for problem in refused.value.problems}
    assert {"orders@1 INVALID_WORKFLOW_DEFINITION", "drafted INVALID_WORKFLOW_DEFINITION", "Not KEY_INVALID"} <= places


async def test_the_trigger_of_the_newest_version_has_its_schedule(db: Database) -> None:
    trigger = {"type": "recurring", "cron": "0 9 * * *", "timezone": "Europe/Berlin"}
    first = {**document(), "trigger": {**trigger, "cron": "0 1 * * *"}, "version": 1}
    second = {**document(), "trigger": trigger, "version": 2}
    clocked = {"payloadSchemaRef": "payload.WorkflowClockTrigger.v1"}
    given = bundle(one("nightly", {**first, **clocked}, {**second, **clocked}), one("drafted", draft=first))
    async with db.tenant(TENANT) as conn:
        nightly, _ = await import_bundle(conn, given, REGISTRY)
        (row,) = await list_schedules(conn)
    assert (row.workflow_id, row.workflow_version, row.cron) == (nightly.row.workflow_id, 2, "0 9 * * *")
    assert (row.origin, row.enabled, row.status) == ("trigger", True, "scheduled")


async def test_pause_and_limit_stay_where_the_bundle_does_not_speak_of_them(db: Database) -> None:
    async with db.tenant(TENANT) as conn:
        (made,) = await import_bundle(conn, bundle(one("orders", isPaused=False, concurrencyLimit=None)), REGISTRY)
        assert made.changed == {}
        await set_operation(conn, made.row.workflow_id, is_paused=True, concurrency_limit=3)
        (kept,) = await import_bundle(conn, bundle(one("orders", isPaused=None)), REGISTRY)
        assert (kept.row.is_paused, kept.row.concurrency_limit, kept.changed) == (True, 3, {})
        (resumed,) = await import_bundle(conn, bundle(one("orders", isPaused=False, concurrencyLimit=3)), REGISTRY)
        assert (resumed.row.is_paused, resumed.row.concurrency_limit) == (False, 3)
        assert resumed.changed == {"is_paused": False}
        (freed,) = await import_bundle(conn, bundle(one("orders", concurrencyLimit=None)), REGISTRY)
        assert (freed.row.is_paused, freed.row.concurrency_limit) == (False, None)
        assert freed.changed == {"concurrency_limit": None}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "formatVersion"),
        ({**bundle(one("a")), "formatVersion": 2}, "formatVersion"),
        (bundle(), "at least one"),
        (bundle({"key": "a"}), "workflows[0]"),
        (bundle(one("a"), one("a")), "twice"),
        (bundle({**one("a"), "publishedVersions": [1]}), "publishedVersions"),
        (bundle({**one("a"), "publishedVersions": 1}), "publishedVersions"),
        (bundle(one("a", {**document(), "version": 1}, {**document(), "version": "2"})), "whole number"),
        (bundle({**one("a"), "metadata": []}), "workflows[0].metadata"),
        (bundle(one("a", isPaused="no")), "workflows[0].metadata.isPaused"),
        (bundle(one("a", concurrencyLimit=0)), "workflows[0].metadata.concurrencyLimit"),
        (bundle(one("a", concurrencyLimit=2**31)), "workflows[0].metadata.concurrencyLimit"),
        (bundle(one("a", concurrencyLimit=True)), "workflows[0].metadata.concurrencyLimit"),
    ],
)
async def test_a_bundle_that_is_none_is_refused(given: Any, said: str) -> None:
    with pytest.raises(Refused) as refused:
        read_bundle(given)
    assert refused.value.code == "BUNDLE_INVALID"
    assert said in refused.value.message
