"""An operator's path through `workflows`, with wrong input too (G-6, FR-8, FR-9)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acceptance.conftest import Stack
from harness.interpreted import document, wait
from harness.operator import command, publish, refused, start, until_status, workflows
from workflows_cli.embedded.loopback import free_ports

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_from_a_definition_to_a_cancelled_run(stack: Stack, tmp_path: Path) -> None:
    key = await publish(stack.environment, {**document(wait()), "id": "operated"}, tmp_path)
    file = str(tmp_path / "operated.json")
    (told,) = (await workflows(stack.environment, "definitions", "validate", file))["problems"]
    assert (told["code"], told["severity"]) == ("EVENT_WAIT_CORRELATION_CONTRACT", "warning")
    by_id = {**stack.environment, "WORKFLOW_RUNTIME_V2_EVENT_CORRELATION_PATHS_JSON": '{"*": "id"}'}
    assert await workflows(by_id, "definitions", "validate", file) == {"problems": []}
    assert key in {row["key"] for row in await workflows(stack.environment, "definitions", "list")}
    shown = await workflows(stack.environment, "definitions", "show", key, "--version", "1")
    assert (shown["version"], shown["definition"]["steps"][0]["type"]) == (1, "event.wait")
    assert "published are 1" in await refused(stack.environment, "definitions", "show", key, "--version", "7")
    assert "did you mean 'operated'" in await refused(stack.environment, "definitions", "show", "operatd")
    run_id = await start(stack.environment, key, {"id": "k9"})
    await until_status(stack.environment, run_id, "WAITING")
    waiting = await workflows(stack.environment, "runs", "list", "--status", "WAITING")
    assert run_id in {row["runId"] for row in waiting}
    code, output, _ = await command(stack.environment, "runs", "show", run_id)
    assert (code, f"run {run_id}  WAITING" in output) == (0, True)
    assert "waits at root.steps[0] for event PAID with key k9" in output
    await workflows(stack.environment, "runs", "cancel", run_id, "--reason", "a test is over")
    while (await workflows(stack.environment, "runs", "show", run_id))["run"]["status"] != "CANCELED":
        pass
    shown = await workflows(stack.environment, "runs", "show", run_id)
    assert [step["status"] for step in shown["steps"]] == ["CANCELED"]
    assert any("a test is over" in line["message"] for line in shown["logs"])
    assert "RUN_ENDED" in await refused(stack.environment, "runs", "cancel", run_id, "--reason", "again")


async def test_an_event_that_concerns_nobody_is_kept_with_its_verdict(stack: Stack) -> None:
    arguments = ("events", "publish", "NOBODY", "--key", "x", "--event-id", "nobody-1")
    assert (await workflows(stack.environment, *arguments))["published"] is True
    assert (await workflows(stack.environment, *arguments))["published"] is False
    while True:
        [row] = await workflows(stack.environment, "events", "list", "--name", "NOBODY")
        if row["status"] == "routed":
            break
    assert row["deliveries"] == []


async def test_set_up_and_schema_commands_say_what_they_found(stack: Stack) -> None:
    assert (await workflows(stack.environment, "setup"))["registered"] == []
    answer = await workflows(stack.environment, "db", "upgrade", "--url", stack.database.admin_url)
    assert answer["before"] == answer["after"]


async def test_a_file_that_is_no_json_is_refused_with_line_and_column(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text('{"id": "x",\n  oops}', encoding="utf-8")
    assert "NOT_JSON" in (message := await refused(stack.environment, "definitions", "import", str(path)))
    assert "line 2 column 3" in message
    assert "FILE_NOT_READABLE" in await refused(stack.environment, "definitions", "import", str(tmp_path / "none"))


async def test_every_problem_of_a_definition_comes_in_one_answer(stack: Stack, tmp_path: Path) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a", "type": "transform.assign", "config": {"assign": {"x": {"$expr": "1 +"}}}},
        {"id": "a", "type": "action.call", "config": {"actionId": "store.sett", "version": 1}},
        {"id": "h", "type": "human.task", "config": {"taskType": "t", "title": {"$expr": "T +"}}},
    ]
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**document(), "id": "bad", "steps": steps}), encoding="utf-8")
    code, output, error = await command(stack.environment, "definitions", "validate", str(path))
    assert (code, error) == (1, "")
    for text in ("DUPLICATE_STEP_ID", "INVALID_EXPRESSION", "UNKNOWN_ACTION", "steps[2].config.title"):
        assert text in output
    assert "did you mean 'store.set'" in output
    await workflows(stack.environment, "definitions", "import", str(path))
    assert "DUPLICATE_STEP_ID" in await refused(stack.environment, "definitions", "publish", "bad")
    code, output, _ = await command(stack.environment, "definitions", "publish", "bad", "--format", "json")
    assert (code, len(json.loads(output)["problems"]) >= 4) == (1, True)


async def test_what_does_not_exist_is_named(stack: Stack) -> None:
    assert "WORKFLOW_UNKNOWN" in await refused(stack.environment, "runs", "start", "nowhere")
    assert "RUN_NOT_FOUND" in await refused(stack.environment, "runs", "show", "nowhere")
    assert "NOT_JSON" in await refused(stack.environment, "runs", "start", "x", "--payload", "{")


async def test_wrong_usage_and_missing_settings_exit_with_2(stack: Stack, tmp_path: Path) -> None:
    assert "No such option" in await refused(stack.environment, "runs", "list", "--nonsense", code=2)
    assert "No such command" in await refused(stack.environment, "run", code=2)
    message = await refused({}, "runs", "list", code=2)
    for name in ("DB_HOST", "DB_PASSWORD_SERVER", "TEMPORAL_ADDRESS"):
        assert f"SETTING_MISSING {name}" in message
    assert "DEV_STACK_NOT_RUNNING" in await refused({}, "runs", "list", "--dev", "--state", str(tmp_path))
    without = {name: value for name, value in stack.environment.items() if name != "WORKFLOWS_TENANT"}
    assert "TENANT_MISSING" in await refused(without, "runs", "list")


async def test_servers_that_do_not_answer_are_named(stack: Stack) -> None:
    nowhere = str(free_ports([None])[0])
    assert "DATABASE_UNAVAILABLE" in await refused({**stack.environment, "DB_PORT": nowhere}, "runs", "list")
    message = await refused({**stack.environment, "TEMPORAL_ADDRESS": f"127.0.0.1:{nowhere}"}, "ownership")
    assert f"UNREACHABLE: Temporal at 127.0.0.1:{nowhere}" in message


async def test_why_an_event_did_not_match_is_told_from_both_sides(stack: Stack, tmp_path: Path) -> None:
    environment = stack.environment
    key = await publish(environment, {**document(wait("ASKED")), "id": "asked"}, tmp_path)
    run_id = await start(environment, key, {"id": "right"})
    shown = await until_status(environment, run_id, "WAITING")
    await workflows(environment, "events", "publish", "ASKED", "--key", "wrong", "--event-id", "asked-1")
    while (await workflows(environment, "events", "show", "asked-1"))["status"] != "routed":
        pass
    (candidate,) = (await workflows(environment, "events", "show", "asked-1"))["candidates"]
    assert candidate["why"] == "the wait's key is 'right', the event has ['wrong']"
    seen = await workflows(environment, "waits", "show", shown["waits"][0]["waitId"])
    assert [(one["eventId"], one["why"]) for one in seen["events"]] == [("asked-1", candidate["why"])]
    (planned,) = await workflows(environment, "events", "replay", "asked-1", "--dry-run")
    assert planned["wouldReach"] == []
    assert "EVENT_NOT_DEAD" in await refused(environment, "events", "requeue", "asked-1")
    assert "EVENT_CONFLICT" in await refused(
        environment, "events", "publish", "ASKED", "--event-id", "asked-1", "--payload", "[1]"
    )
    assert "WAIT_NOT_FOUND" in await refused(environment, "waits", "show", "nothing")
    await workflows(environment, "runs", "cancel", run_id, "--reason", "a test is over")


async def test_a_schedule_is_made_shown_fired_and_deleted(stack: Stack, tmp_path: Path) -> None:
    environment = stack.environment
    key = await publish(environment, {**document(), "id": "by-the-clock"}, tmp_path)
    calendars = tmp_path / "calendars.json"
    week = {"monday": [["09:00", "17:00"]]}
    calendars.write_text(json.dumps({"main": {"timezone": "UTC", "hours": week, "default": True}}), encoding="utf-8")
    await workflows(environment, "calendars", "import", str(calendars))
    options = ("--name", "Mondays", "--cron", "0 9 * * *", "--days", "business")
    made = await workflows(environment, "schedules", "create", key, *options)
    assert made["inTemporal"] is True
    shown = await workflows(environment, "schedules", "show", made["id"], "--next", "3")
    assert len(shown["next"]) == 3
    assert "DAY_FILTER_NOT_ALLOWED" in await refused(
        *(environment, "schedules", "create", key, "--name", "x", "--at", "2099-01-01T00:00:00Z", "--days", "business")
    )
    other = await workflows(environment, "schedules", "create", key, "--name", "any day", "--cron", "0 9 * * *")
    await workflows(environment, "schedules", "trigger", other["id"])
    while (await _schedule(stack, other["id"]))["lastRunStatus"] != "SUCCEEDED":
        pass
    await workflows(environment, "schedules", "pause", other["id"])
    assert (await _schedule(stack, other["id"]))["status"] == "paused"
    for one in (made, other):
        await workflows(environment, "schedules", "delete", one["id"])
    assert await workflows(environment, "schedules", "list") == []
    assert "SCHEDULE_NOT_FOUND" in await refused(environment, "schedules", "show", made["id"])


async def _schedule(stack: Stack, schedule_id: str) -> Any:
    [row] = [one for one in await workflows(stack.environment, "schedules", "list") if one["id"] == schedule_id]
    return row
