"""Publishing looks at the workflows that a definition calls."""

from __future__ import annotations

from typing import Any

import pytest

from harness.interpreted import document
from harness.run_records import TENANT
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.registry import ActionRegistry
from workflows_core.errors import Refused
from workflows_core.publishing.publish import PublishedVersion, import_definition, publish_definition
from workflows_core.storage.database import Database

pytestmark = pytest.mark.asyncio(loop_scope="session")
CORE = ActionRegistry.of({"core": core_pack(HttpPolicy())})


async def publish(db: Database, key: str, *calls: tuple[str, int]) -> PublishedVersion:
    steps = [
        {"type": "control.callWorkflow", "workflowId": name, "workflowVersion": version} for name, version in calls
    ]
    async with db.tenant(TENANT) as conn:
        await import_definition(conn, {**document(*steps), "payloadSchemaRef": "payload.Empty.v1"}, key=key)
    return await publish_definition(db, TENANT, key, CORE)


async def refused(work: Any) -> Refused:
    with pytest.raises(Refused) as found:
        await work
    return found.value


async def test_hole_20_a_callee_that_is_not_there_is_refused_with_what_is_near(db: Database) -> None:
    await publish(db, "onboarding")
    error = await refused(publish(db, "caller", ("onbording", 1), ("onboarding", 2)))
    unknown, version = error.problems
    assert (unknown.code, unknown.path, unknown.suggestion) == (
        "CALLEE_UNKNOWN",
        "root.steps[0].workflowId",
        "onboarding",
    )
    assert (version.code, version.path) == ("CALLEE_VERSION_UNKNOWN", "root.steps[1].workflowVersion")
    assert "its newest is 1" in version.message


async def test_hole_20_a_cycle_is_said_with_its_whole_way(db: Database) -> None:
    await publish(db, "a")
    await publish(db, "b", ("a", 1))
    published = await publish(db, "a", ("b", 1))
    (warning,) = published.warnings
    assert warning.code == "CALL_CYCLE"
    assert "a calls b calls a" in warning.message
    (itself,) = (await publish(db, "a", ("a", 3))).warnings
    assert (itself.code, "a calls a" in itself.message) == ("CALL_CYCLE", True)
    assert (await publish(db, "c", ("b", 1))).warnings == []
