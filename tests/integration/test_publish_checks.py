"""What publishing refuses of times, secrets and answers, beside what it takes."""

from __future__ import annotations

from typing import Any

import pytest

from harness.authored import TENANT
from harness.interpreted import document
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.registry import ActionRegistry
from workflows_core.errors import Refused
from workflows_core.publishing.publish import import_definition, publish_definition
from workflows_core.storage.database import Database

pytestmark = pytest.mark.asyncio(loop_scope="session")
REGISTRY = ActionRegistry.of({"core": core_pack(HttpPolicy())})
TASK = {"taskType": "approve", "title": {"$expr": "'Approve?'"}}


async def said_of(db: Database, *steps: dict[str, Any], **definition: Any) -> list[tuple[str, str, str]]:
    """Code, path and message of what publishing refuses; nothing when it has published."""
    async with db.tenant(TENANT) as conn:
        await import_definition(conn, {**document(*steps), **definition})
    try:
        published = await publish_definition(db, TENANT, "wf", REGISTRY)
    except Refused as refused:
        return [(one.code, one.path, one.message) for one in refused.problems if one.severity == "error"]
    assert published.version == 1
    return []


def call(action: str, mapping: dict[str, Any]) -> dict[str, Any]:
    return {"type": "action.call", "config": {"actionId": action, "version": 1, "inputMapping": mapping}}


def truncate(**mapping: Any) -> dict[str, Any]:
    return call("transform.truncate_text", mapping)


def fetch(**mapping: Any) -> dict[str, Any]:
    return call("http.request", mapping)


@pytest.mark.parametrize("minute", ["5-", "*5", "-5", ",5", "*-5"])
async def test_a_field_of_cron_that_is_no_number_range_or_step_is_named(db: Database, minute: str) -> None:
    trigger = {"type": "recurring", "cron": f"{minute} 9 * * *", "timezone": "UTC"}
    [(code, path, message)] = await said_of(db, trigger=trigger)
    assert (code, path) == ("TIME_TRIGGER_INVALID_CRON", "trigger.cron")
    assert message.startswith(f"the minute is {minute!r}; it takes")


async def test_a_secret_stands_for_a_text_and_for_nothing_else(db: Database) -> None:
    token = {"$secret": "API_TOKEN"}
    [(code, path, message)] = await said_of(db, fetch(url="https://example.com/", timeoutMs=token))
    assert (code, path) == ("MAPPING_TYPE_INCOMPATIBLE", "root.steps[0].config.inputMapping.timeoutMs")
    assert "a secret is a text" in message
    assert await said_of(db, fetch(url="https://example.com/", headers={"Authorization": token})) == []


async def test_an_action_that_could_only_store_a_secret_or_give_it_back_is_given_none(db: Database) -> None:
    [(code, path, message)] = await said_of(db, truncate(text={"$secret": "API_TOKEN"}, maxLength=5))
    assert (code, path) == ("SECRET_NOT_ALLOWED", "root.steps[0].config.inputMapping.text")
    assert "use the secret in the step that sends it" in message


async def test_a_task_may_take_any_answer_and_one_with_a_schema_needs_a_good_one(db: Database) -> None:
    wrong = {"type": "human.task", "config": {**TASK, "responseSchema": {"type": "nothing"}}}
    [(code, path, _)] = await said_of(db, wrong)
    assert (code, path) == ("INVALID_RESPONSE_SCHEMA", "root.steps[0].config.responseSchema/type")
    assert await said_of(db, {"type": "human.task", "config": TASK}) == []
