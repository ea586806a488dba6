"""What operators are shown of a run's values, and what the run itself gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acceptance.conftest import Stack
from harness.interpreted import document
from harness.operator import publish, refused, start, until_status, workflows
from workflows_core.redaction import REDACTED

pytestmark = pytest.mark.asyncio(loop_scope="session")
PAYLOAD = {"email": "ann@example.com", "password": "hunter2", "customer": {"name": "Ann", "id": 7}}
HIDDEN = {"email": REDACTED, "password": REDACTED, "customer": {"name": REDACTED, "id": 7}}


async def test_operators_are_shown_what_the_tenant_does_not_hide(stack: Stack, tmp_path: Path) -> None:
    environment = {**stack.environment, "WORKFLOWS_TENANT": "discreet"}
    rules, none = tmp_path / "rules.json", tmp_path / "none.json"
    hiding = {"keyPatterns": ["^e?mail$"], "pointers": ["/customer/name", "/value/customer/name"]}
    rules.write_text(json.dumps(hiding), encoding="utf-8")
    none.write_text("{}", encoding="utf-8")
    await workflows(environment, "redaction", "set", str(rules))
    mapping = {"namespace": "seen", "key": "last", "value": {"$expr": "payload"}}
    call = {"actionId": "store.set", "version": 1, "inputMapping": mapping}
    definition = {**document({"type": "action.call", "config": call}), "id": "discreet"}
    key = await publish(environment, {**definition, "payloadSchemaRef": "payload.Any.v1"}, tmp_path)
    run_id = await start(environment, key, PAYLOAD)
    shown = await until_status(environment, run_id, "SUCCEEDED")
    (called,) = shown["invocations"]
    assert (shown["run"]["inputJson"], called["inputJson"]["value"]) == (HIDDEN, HIDDEN)
    await workflows(environment, "events", "publish", "SEEN", "--event-id", "e", "--payload", json.dumps(PAYLOAD))
    assert (await workflows(environment, "events", "show", "e"))["payload"] == HIDDEN
    assert (await workflows(environment, "events", "list"))[0]["payload"] == HIDDEN

    again = await workflows(environment, "runs", "replay", run_id, "--reason", "once more")
    await until_status(environment, again["newRunId"], "SUCCEEDED")
    assert await workflows(environment, "redaction", "show") == hiding
    await workflows(environment, "redaction", "set", str(none))
    replayed = await workflows(environment, "runs", "show", again["newRunId"])
    assert replayed["run"]["inputJson"] == {**PAYLOAD, "password": REDACTED}, "it was given what was shown"


async def test_wrong_rules_change_nothing(stack: Stack, tmp_path: Path) -> None:
    environment = {**stack.environment, "WORKFLOWS_TENANT": "undecided"}
    path = tmp_path / "rules.json"
    path.write_text('{"keyPatterns": ["("], "pointers": ["name"]}', encoding="utf-8")
    message = await refused(environment, "redaction", "set", str(path))
    assert "REDACTION_INVALID at keyPatterns[0]: is no regular expression of RE2" in message
    assert "REDACTION_INVALID at pointers[0]: must be a JSON pointer" in message
    assert await workflows(environment, "redaction", "show") == {"keyPatterns": [], "pointers": []}
