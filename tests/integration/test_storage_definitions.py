"""What an event starts, and the fine points of drafts."""

from __future__ import annotations

from typing import Any

import pytest

from harness.interpreted import document
from workflows_core.errors import Refused
from workflows_core.storage.admission import hold_definition
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import find, get_version, publish_version, published_triggers, save_draft

TENANT = "acme"
pytestmark = pytest.mark.asyncio


def started_by(event: str | None) -> dict[str, Any]:
    return {**document(), **({"trigger": {"type": "event", "eventName": event}} if event else {})}


async def save(db: Database, event: str | None, key: str = "w") -> None:
    async with db.tenant(TENANT) as conn:
        await save_draft(conn, workflow_id=f"id-{key}", key=key, name=key, document=started_by(event))


async def publish(db: Database, event: str | None, key: str = "w", **options: Any) -> None:
    await save(db, event, key)
    async with db.tenant(TENANT) as conn:
        await publish_version(conn, f"id-{key}", started_by(event), **options)


async def triggers(db: Database, event: str, tenant: str = TENANT) -> list[tuple[str, int]]:
    async with db.tenant(tenant) as conn:
        return [(found.key, found.version) for found in await published_triggers(conn, event)]


async def test_an_event_starts_the_newest_published_version(db: Database) -> None:
    await publish(db, "PAID")
    await publish(db, "PAID")
    await publish(db, "PAID", key="a")
    await publish(db, "SENT", key="b")
    assert await triggers(db, "PAID") == [("a", 1), ("w", 2)]
    assert await triggers(db, "PAID", tenant="other") == []


async def test_a_draft_starts_nothing(db: Database) -> None:
    await save(db, "PAID")
    assert await triggers(db, "PAID") == []
    await publish(db, "PAID")
    await save(db, "SENT")
    assert (await triggers(db, "PAID"), await triggers(db, "SENT")) == ([("w", 1)], [])


async def test_a_version_without_the_trigger_ends_it(db: Database) -> None:
    await publish(db, "PAID")
    await publish(db, None)
    assert await triggers(db, "PAID") == []


async def test_a_workflow_is_found_by_id_before_key(db: Database) -> None:
    """Runs, schedules and published versions name theirs by its id."""
    async with db.tenant(TENANT) as conn:
        await save_draft(conn, workflow_id="x", key="first", name="First", document=document())
        await save_draft(conn, workflow_id="second", key="x", name="Second", document=document())
        for asked, name in (("x", "First"), ("first", "First"), ("second", "Second")):
            found, held = await find(conn, asked), await hold_definition(conn, asked)
            assert found is not None
            assert held is not None
            assert (found.name, held.key) == (name, found.key)
        assert await find(conn, "nowhere") is None
        assert await get_version(conn, "second", None) is None


async def test_another_draft_than_the_one_looked_at_is_not_published(db: Database) -> None:
    await save(db, "PAID")
    with pytest.raises(Refused, match="DRAFT_CHANGED"):
        await publish(db, "PAID", expected_draft_version=1)
    await publish(db, "PAID", expected_draft_version=3)
