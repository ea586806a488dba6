"""Bundles in and out of the database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from harness.interpreted import act, document
from harness.run_records import TENANT
from workflows_core.errors import Refused
from workflows_core.publishing.bundle import export_bundle, import_bundle, read_bundle
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import find, list_versions

pytestmark = pytest.mark.asyncio(loop_scope="session")
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


async def test_a_bundle_goes_round(db: Database) -> None:
    first, second = ({**document(act(f"v{n}")), "version": n} for n in (1, 2))
    given = bundle(one("orders", second, first, isPaused=True, concurrencyLimit=3), one("drafted"))
    async with db.tenant(TENANT) as conn:
        imported = await import_bundle(conn, given)
        exported = await export_bundle(conn, ["orders", "drafted"], NOW)
    assert [(key, version) for key, _, version in imported] == [("orders", 2), ("drafted", 0)]
    assert [v["definition"]["steps"][0]["config"]["saveAs"] for v in exported["workflows"][0]["publishedVersions"]] == [
        "v1",
        "v2",
    ]
    async with db.tenant("another") as conn:
        await import_bundle(conn, exported)
        again = await export_bundle(conn, ["orders", "drafted"], NOW)
    assert shape(again) == shape(exported)
    assert exported["workflows"][0]["metadata"]["isPaused"] is True
    assert exported["workflows"][0]["dependencies"]["actions"] == [{"actionId": "test.act", "version": 1}]


async def test_published_versions_that_are_there_stay(db: Database) -> None:
    async with db.tenant(TENANT) as conn:
        await import_bundle(conn, bundle(one("orders", {**document(act("old")), "version": 1})))
        newer = bundle(one("orders", {**document(act("new")), "version": 1}, draft=document(act("new"))))
        await import_bundle(conn, newer)
        row = await find(conn, "orders")
        assert row is not None
        (version,) = await list_versions(conn, row.workflow_id)
    assert version.definition["steps"][0]["config"]["saveAs"] == "old"
    assert row.draft_definition["steps"][0]["config"]["saveAs"] == "new"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "formatVersion"),
        ({**bundle(one("a")), "formatVersion": 2}, "formatVersion"),
        (bundle(), "at least one"),
        (bundle({"key": "a"}), "workflows[0]"),
        (bundle(one("a"), one("a")), "twice"),
        (bundle({**one("a"), "publishedVersions": [1]}), "publishedVersions"),
    ],
)
async def test_a_bundle_that_is_none_is_refused(given: Any, said: str) -> None:
    with pytest.raises(Refused) as refused:
        read_bundle(given)
    assert refused.value.code == "BUNDLE_INVALID"
    assert said in refused.value.message
