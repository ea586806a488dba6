"""An operator with real processes: answers a task, looks at a failed run, redrives and replays it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acceptance.conftest import Stack
from harness.interpreted import document
from harness.operator import publish, refused, start, until_status, workflows

pytestmark = pytest.mark.asyncio(loop_scope="session")
SCHEMA = {"type": "object", "required": ["approved"]}
TASK = {"taskType": "approval", "title": {"$expr": "'Approve'"}, "responseSchema": SCHEMA}


def definition() -> dict[str, Any]:
    pick = {"assign": {"vars.n": {"$expr": "payload.n + (event.approved ? 1 : 0)"}}}
    return {
        **document(
            {"type": "human.task", "config": TASK},
            {"type": "transform.assign", "config": pick},
            {"type": "control.return", "value": {"$expr": "vars.n"}},
        ),
        "id": "approved-number",
        "payloadSchemaRef": "payload.Number.v1",
    }


async def answered(stack: Stack, run_id: str) -> None:
    await until_status(stack.environment, run_id, "WAITING")
    (task,) = [one for one in await workflows(stack.environment, "tasks", "list") if one["execution_id"] == run_id]
    message = await refused(stack.environment, "tasks", "answer", task["task_id"], "{}")
    assert "TASK_ANSWER_INVALID" in message
    await workflows(stack.environment, "tasks", "answer", task["task_id"], '{"approved": true}')


async def test_a_failed_run_is_redriven_and_replayed(stack: Stack, tmp_path: Path) -> None:
    environment = stack.environment
    key = await publish(environment, definition(), tmp_path)
    run_id = await start(environment, key, {"n": "no number"})
    await answered(stack, run_id)
    await until_status(environment, run_id, "FAILED")
    planned = await workflows(environment, "runs", "redrive", run_id, "--from", "s1", "--dry-run")
    assert (planned["kept"], planned["repeated"]) == (["root.steps[0]"], ["root.steps[1]"])
    assert "REDRIVE_STEP_NOT_REACHED" in await refused(environment, "runs", "redrive", run_id, "--from", "s9")
    for reason in ((), ("--reason", "   ")):
        redrive = ("runs", "redrive", run_id, "--from", "s1", *reason)
        assert "REASON_MISSING at --reason" in await refused(environment, *redrive)
    again = await workflows(environment, "runs", "redrive", run_id, "--from", "s1", "--reason", "to see it fail again")
    await until_status(environment, again["newRunId"], "FAILED")
    other = await workflows(
        *(environment, "runs", "replay", run_id, "--again"),
        *("--reason", "with a number", "--payload", json.dumps({"n": 4})),
    )
    await answered(stack, other["newRunId"])
    await until_status(environment, other["newRunId"], "SUCCEEDED")
    shown = await workflows(environment, "runs", "show", other["newRunId"])
    assert shown["run"]["resultJson"]["result"] == 5
    assert "TASK_NOT_FOUND" in await refused(environment, "tasks", "show", "nothing")


async def test_a_definition_is_tried_before_it_is_published(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "approved-number.json"
    path.write_text(json.dumps(definition()), encoding="utf-8")
    fixtures = json.dumps({"s0": {"approved": True}})
    report = await workflows({}, "simulate", str(path), "--payload", '{"n": 4}', "--fixtures", fixtures)
    assert (report["status"], report["result"]) == ("completed", 5)
    await workflows(stack.environment, "definitions", "import", str(path))
    bundle = await workflows(stack.environment, "definitions", "export", "approved-number")
    assert [one["key"] for one in bundle["workflows"]] == ["approved-number"]
    drawn = await workflows({}, "definitions", "graph", str(path))
    assert "task approval" in drawn["mermaid"]


async def test_schemas_and_events_are_imported_and_listed(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "schemas.json"
    path.write_text(json.dumps({"payload.Seen.v1": {"type": "object"}}), encoding="utf-8")
    events = tmp_path / "events.json"
    events.write_text(json.dumps({"SEEN": {"payloadSchemaRef": "payload.Seen.v1"}}), encoding="utf-8")
    environment = {**stack.environment, "WORKFLOWS_TENANT": "with-schemas"}
    assert "CATALOG_IMPORT_INVALID" in await refused(environment, "catalog", "import", str(events))
    await workflows(environment, "schemas", "import", str(path))
    await workflows(environment, "catalog", "import", str(events))
    refs = [one["ref"] for one in await workflows(environment, "schemas", "list")]
    assert refs == ["payload.Empty.v1", "payload.WorkflowClockTrigger.v1", "payload.Seen.v1"]
    assert [one["eventType"] for one in await workflows(environment, "catalog", "list")] == ["SEEN"]
