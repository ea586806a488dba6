"""Actions by place: who announces what, what runs where, and what becomes of a call that nobody serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from harness.authored import TENANT, Authored, Started, authored_runtime
from harness.databases import MigratedDatabase
from harness.holding import holding
from harness.interpreted import act, document
from harness.run_records import a_call
from harness.short_tasks import with_short_tasks
from workflows_core.actions.action import Action, ActionContext, Effect, Place
from workflows_core.actions.registry import ActionRegistry
from workflows_core.actions.secrets import MappingSecrets
from workflows_core.errors import ActionFailed, ErrorCategory, Refused
from workflows_core.execution.payloads import decode, encode
from workflows_core.execution.policy import RunPolicy
from workflows_core.execution.worker import WorkerLimits, application_worker, authored_replayer
from workflows_core.publishing.publish import import_definition, publish_definition
from workflows_core.runtime import AuthoredRuntime
from workflows_core.storage.capabilities import announced_actions
from workflows_core.storage.database import Database
from workflows_core.storage.processes import Announcement, announce, leave

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOON = RunPolicy(unavailable_after_ms=1_000)
SERVER = "workflow-server@host:7"
WORKER = "workflow-worker@host:7"


async def _draft(value: Any, context: ActionContext) -> Any:
    if value.get("refuse"):
        raise ActionFailed("the model refused", category=ErrorCategory.ACTION, code="AI_REFUSED")
    if value.get("slow"):
        await asyncio.sleep(60)
    return {"text": f"dear {value.get('name', '')}", "attempt": context.attempt}


DRAFT = Action(
    "app.draft",
    1,
    _draft,
    {"type": "object", "required": ["name"]},
    {"type": "object"},
    "Drafts.",
    effect=Effect.IDEMPOTENT,
    heartbeat_ms=3_000,
    place=Place.APP,
)


def application(db: Database) -> AuthoredRuntime:
    return AuthoredRuntime.build(db, {"app": lambda: [DRAFT]}, MappingSecrets({}))


async def announced(
    db: Database, identity: str = SERVER, actions: Sequence[Action] = (DRAFT,), place: Place = Place.APP
) -> None:
    registry = ActionRegistry.of({"app": lambda: list(actions)})
    async with db.narrow() as conn:
        await announce(conn, Announcement(identity, place.service, "1", [place.queue], registry.announced(place)))


async def gone(db: Database, identity: str = SERVER) -> None:
    async with db.narrow() as conn:
        await leave(conn, identity)


@asynccontextmanager
async def serving(db: Database, client: Client) -> AsyncIterator[None]:
    async with application_worker(client, application(db).activities, WorkerLimits(grace_seconds=0)):
        await announced(db)
        yield


def draft(**fields: Any) -> dict[str, Any]:
    return act("vars.draft", {"name": "Ada"}, **fields) | {
        "config": {"actionId": "app.draft", "version": 1, "inputMapping": {"name": "Ada"}, "saveAs": "vars.draft"}
    }


async def cancelled_while_it_asks(run: Started, database: MigratedDatabase) -> None:
    """Cancels a run whose question, who serves its action, nobody can answer meanwhile, and waits for its end."""
    async with holding(database, "LOCK TABLE workflow_processes") as held:
        await held.waiting(1)
        await run.handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await run.handle.result()


async def failure_of(authored: Authored, *steps: dict[str, Any]) -> dict[str, Any]:
    run = await authored.start(document(*steps))
    with pytest.raises(WorkflowFailureError):
        await run.handle.result()
    error = (await run.timeline()).run.error_json
    assert error is not None
    return dict(error)


async def test_only_the_application_s_own_step_runs_there(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored, serving(db, client):
        run = await authored.start(document(act(mapping={"name": "before"}), draft(), act(mapping={"name": "after"})))
        result = await run.handle.result()
        timeline = await run.timeline()
        history = await run.handle.fetch_history()
    assert result["scopes"]["vars"]["draft"] == {"text": "dear Ada", "attempt": 1}
    assert [(i.action_id, i.status) for i in timeline.invocations] == [
        ("test.act", "SUCCEEDED"),
        ("app.draft", "SUCCEEDED"),
        ("test.act", "SUCCEEDED"),
    ]
    scheduled = [e.activity_task_scheduled_event_attributes for e in history.events]
    queues = {a.task_queue.name: a.activity_type.name for a in scheduled if a.activity_type.name}
    assert queues["workflow-app-actions"] == "workflowRuntimeV2RunAction"
    assert sum(1 for a in scheduled if a.task_queue.name == "workflow-app-actions") == 1


async def test_a_failure_there_is_the_author_s_to_handle(db: Database, client: Client) -> None:
    refused = draft(onError={"policy": "continue"})
    refused["config"]["inputMapping"]["refuse"] = True
    async with authored_runtime(db, client) as authored, serving(db, client):
        run = await authored.start(document(refused, act(mapping={"name": "after"})))
        result = await run.handle.result()
    assert (result["scopes"]["error"]["category"], result["scopes"]["error"]["code"]) == ("ActionError", "AI_REFUSED")
    assert authored.effects.count("after") == 1


async def test_an_action_nobody_has_heard_of_fails_by_name_after_the_stated_time(db: Database, client: Client) -> None:
    async with authored_runtime(db, client, policy=SOON) as authored:
        error = await failure_of(authored, act(mapping={"name": "one"}), draft(), act(mapping={"name": "never"}))
    assert (error["category"], error["code"], error["nodePath"]) == (
        "ActionUnavailable",
        "ACTION_UNAVAILABLE",
        "root.steps[1]",
    )
    assert error["details"] == {
        "action": "app.draft",
        "version": 1,
        "place": None,
        "waitedMs": 1_000,
        "lastServedBy": None,
    }
    assert [name for name, _ in authored.effects.calls] == ["one"]


async def test_an_action_whose_server_is_gone_says_who_served_it(db: Database, client: Client) -> None:
    await announced(db)
    await gone(db)
    async with authored_runtime(db, client, policy=SOON) as authored:
        error = await failure_of(authored, draft())
    assert error["details"]["place"] == "app"
    assert error["details"]["lastServedBy"].startswith(SERVER)
    assert "start workflow-server with the pack that has it" in error["message"]


async def test_people_see_what_a_step_waits_for_and_it_goes_on_when_it_comes(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(act(mapping={"name": "before"}), draft()))
        while True:
            found = (await run.timeline()).logs
            if found:
                break
            await asyncio.sleep(0.05)
        assert (found[0].level, found[0].step_path) == ("WARN", "root.steps[1]")
        assert "no process serves action app.draft@1" in found[0].message
        assert "waits 60 s" in found[0].message
        async with serving(db, client):
            result = await run.handle.result()
    assert result["scopes"]["vars"]["draft"]["text"] == "dear Ada"


async def test_a_server_that_goes_away_while_the_step_is_on_its_queue(db: Database, client: Client) -> None:
    await announced(db)
    async with authored_runtime(db, client, policy=SOON) as authored:
        run = await authored.start(document(act(mapping={"name": "before"}), draft()))
        while authored.effects.count("before") == 0:
            await asyncio.sleep(0.02)
        # Served, but nobody takes it: a backlog, and no reason to fail.
        await asyncio.sleep(2.5)
        assert (await run.timeline()).run.status == "RUNNING"
        await gone(db)
        with pytest.raises(WorkflowFailureError):
            await run.handle.result()
        timeline = await run.timeline()
    assert timeline.run.error_json is not None
    assert timeline.run.error_json["category"] == "ActionUnavailable"
    assert timeline.run.error_json["details"]["waitedMs"] >= 2_000
    assert [step.status for step in timeline.steps] == ["SUCCEEDED", "FAILED"]


async def test_a_server_that_is_just_replaced_is_not_absent_for_the_calls_that_are_with_it(db: Database) -> None:
    """A look in the second between two servers failed a call that was under way as `ActionUnavailable`."""
    runtime = AuthoredRuntime.build(db, {}, MappingSecrets({}), RunPolicy(unavailable_after_ms=300))
    look = ActivityEnvironment()
    asked = encode({"id": "app.draft", "version": 1, "at": "app"})
    await announced(db)
    await gone(db)
    assert decode(await look.run(runtime.activities.find_action, asked))["traits"] is not None
    await asyncio.sleep(0.4)
    assert decode(await look.run(runtime.activities.find_action, asked))["traits"] is None


async def test_a_call_that_came_to_the_wrong_process_is_not_failed_while_the_right_one_is_replaced(
    db: Database,
) -> None:
    """It failed as `ActionUnavailable` at once, where a worker that had the action was being replaced."""
    runtime = AuthoredRuntime.build(db, {}, MappingSecrets({}), RunPolicy(unavailable_after_ms=300))
    called = encode(a_call(action_id="app.draft"))
    await announced(db, WORKER, [replace(DRAFT, place=Place.WORKER)], Place.WORKER)
    await gone(db, WORKER)
    types = []
    for _ in range(2):
        with pytest.raises(ApplicationError) as failed:
            await ActivityEnvironment().run(runtime.activities.run_action, called)
        types.append(failed.value.type)
        await asyncio.sleep(0.4)
    assert types == ["ActionElsewhere", "ActionUnavailable"]


async def test_what_came_before_is_recorded_while_the_application_is_away(db: Database, client: Client) -> None:
    await announced(db)
    assign = {"type": "transform.assign", "config": {"assign": {"vars.a": {"$expr": "1"}}}}
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(act(mapping={"name": "before"}), assign, draft()))
        while [step.step_path for step in (await run.timeline()).steps] != ["root.steps[0]", "root.steps[1]"]:
            await asyncio.sleep(0.02)
        await run.handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await run.handle.result()
        assert (await run.timeline()).run.status == "CANCELED"


async def test_a_cancel_while_it_is_asked_who_serves_the_action_is_one(
    database: MigratedDatabase, db: Database, client: Client
) -> None:
    """The run was FAILED, by its step, and nothing was undone that is to be undone after a cancel."""
    async with authored_runtime(db, with_short_tasks(client)) as authored:
        before = {**act(mapping={"name": "before"}), "onCompensate": [act(mapping={"name": "undone"}, id="undo")]}
        run = await authored.start({**document(before, draft()), "compensateOn": ["cancel"]})
        while not (await run.timeline()).logs:
            await asyncio.sleep(0.02)
        await cancelled_while_it_asks(run, database)
        timeline = await run.timeline()
    assert timeline.run.status == "CANCELED"
    assert [step.status for step in timeline.steps if step.step_path == "root.steps[1]"] == ["CANCELED"]
    assert [name for name, _ in authored.effects.calls] == ["before", "undone"]


async def test_a_cancel_while_it_is_asked_who_serves_the_action_takes_the_call_off_the_queue(
    database: MigratedDatabase, db: Database, client: Client
) -> None:
    """A server that came while the run undid what it had done could call the action still."""
    await announced(db)
    async with authored_runtime(db, with_short_tasks(client), policy=SOON) as authored:
        run = await authored.start(document(act(mapping={"name": "before"}), draft()))
        while authored.effects.count("before") == 0:
            await asyncio.sleep(0.02)
        await cancelled_while_it_asks(run, database)
        history = await run.handle.fetch_history()
    assert (await run.timeline()).run.status == "CANCELED"
    assert EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED in [event.event_type for event in history.events]


async def test_a_call_that_came_to_the_wrong_process_goes_to_the_one_that_has_it(db: Database, client: Client) -> None:
    other = AuthoredRuntime.build(db, {"app": lambda: [replace(DRAFT, id="app.other")]}, MappingSecrets({}))
    async with authored_runtime(db, client) as authored:
        async with application_worker(client, other.activities, WorkerLimits(grace_seconds=0)):
            await announced(db, "workflow-server@host:8", [replace(DRAFT, id="app.other")])
            await announced(db)
            run = await authored.start(document(draft()))
            assert "load the same packs in every process" in await run.told_why_it_waits()
        async with serving(db, client):
            result = await run.handle.result()
    assert result["scopes"]["vars"]["draft"]["text"] == "dear Ada"


async def test_a_call_whose_action_has_moved_to_another_service_fails_and_says_so(db: Database, client: Client) -> None:
    await announced(db, WORKER, [replace(DRAFT, place=Place.WORKER)], Place.WORKER)
    async with authored_runtime(db, client, policy=RunPolicy(unavailable_after_ms=300)) as authored:
        run = await authored.start(document(draft()))
        assert WORKER in await run.told_why_it_waits()
        await announced(db)
        await gone(db, WORKER)
        with pytest.raises(WorkflowFailureError):
            await run.handle.result()
        error = (await run.timeline()).run.error_json
        await announced(db, WORKER, [replace(DRAFT, place=Place.WORKER)], Place.WORKER)
        later = await authored.start(document(draft()))
        assert WORKER in await later.told_why_it_waits()
        await gone(db, WORKER)
        await gone(db)
        with pytest.raises(WorkflowFailureError):
            await later.handle.result()
        nobody = (await later.timeline()).run.error_json
    assert error is not None
    assert (error["code"], error["details"]["place"]) == ("ACTION_UNAVAILABLE", "app")
    assert "load the pack in workflow-worker as well until such runs have ended" in error["message"]
    assert nobody is not None
    assert nobody["details"]["place"] == "worker"
    assert "start workflow-worker with the pack that has it" in nobody["message"]


async def test_an_action_that_moves_away_while_its_step_is_on_the_application_s_queue(
    db: Database, client: Client
) -> None:
    """The run waited for ever: workflow-worker has the action, and nobody polls the queue that the call is on."""
    await announced(db)
    async with authored_runtime(db, client, policy=SOON) as authored:
        run = await authored.start(document(act(mapping={"name": "before"}), draft()))
        while authored.effects.count("before") == 0:
            await asyncio.sleep(0.02)
        await announced(db, WORKER, [replace(DRAFT, place=Place.WORKER)], Place.WORKER)
        await gone(db)
        with pytest.raises(WorkflowFailureError):
            await run.handle.result()
        error = (await run.timeline()).run.error_json
    await authored_replayer().replay_workflow(await run.handle.fetch_history())
    assert error is not None
    assert (error["code"], error["details"]["place"]) == ("ACTION_UNAVAILABLE", "worker")
    assert "it has moved to workflow-worker: load the pack in workflow-server as well" in error["message"]


async def test_a_short_action_that_another_process_has_is_called_there(db: Database, client: Client) -> None:
    async def sized(value: Any, _: ActionContext) -> Any:
        return {"size": len(value["name"])}

    made = replace(DRAFT, id="here.size", handler=sized, effect=Effect.PURE, place=Place.WORKER)
    short = replace(made, timeout_ms=500, short=True)
    await announced(db, WORKER, [short], Place.WORKER)
    steps = [act("vars.a", {"name": "one"}), *(draft() for _ in range(2))]
    for step in steps[1:]:
        step["config"]["actionId"] = "here.size"
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(*steps))
        assert WORKER in await run.told_why_it_waits()
    # A run that began with it as a short one goes on where it is none any more.
    async with authored_runtime(db, client, more={"size": lambda: [made]}):
        result = await run.handle.result()
    await authored_replayer().replay_workflow(await run.handle.fetch_history())
    assert result["scopes"]["vars"]["draft"] == {"size": 3}


async def test_what_is_announced_is_what_is_served_at_that_place(db: Database) -> None:
    here = replace(DRAFT, id="here.act", place=Place.WORKER)
    registry = ActionRegistry.of({"p": lambda: [DRAFT, here]})
    assert [a["id"] for a in registry.announced(Place.APP)] == ["app.draft"]
    await announced(db)
    await announced(db, "workflow-server@host:8")
    await gone(db)
    async with db.narrow() as conn:
        found = await announced_actions(conn, {("app.draft", 1), ("app.draft", 2), ("nobody.has", 1)})
    assert [(a.identity, a.live, a.place) for a in found] == [
        ("workflow-server@host:8", True, "app"),
        (SERVER, False, "app"),
    ]
    assert found[0].traits == registry.traits(DRAFT)


# Publishing


async def publish_draft(db: Database, mapping: dict[str, Any], **options: Any) -> list[tuple[str, str, str]]:
    step = draft()
    step["config"]["inputMapping"] = mapping
    async with db.tenant(TENANT) as conn:
        await import_definition(conn, {**document(step), "payloadSchemaRef": "payload.Empty.v1"})
    try:
        published = await publish_definition(db, TENANT, "wf", ActionRegistry.of({}), **options)
    except Refused as error:
        return [(p.severity, p.code, p.message) for p in error.problems]
    return [(p.severity, p.code, p.message) for p in published.warnings]


async def test_publishing_knows_the_actions_of_live_processes(db: Database) -> None:
    await announced(db)
    assert await publish_draft(db, {"name": "Ada"}) == []
    ((severity, code, _),) = await publish_draft(db, {})
    assert (severity, code) == ("error", "MISSING_REQUIRED_MAPPING")


async def test_publishing_warns_of_what_nobody_serves_now(db: Database) -> None:
    await announced(db)
    await gone(db)
    ((severity, code, message),) = await publish_draft(db, {"name": "Ada"})
    assert (severity, code) == ("warning", "ACTION_NOT_ANNOUNCED")
    assert "workflow-server (place app) has to" in message
    assert SERVER in message


async def test_publishing_names_the_process_that_lacks_what_another_has(db: Database) -> None:
    await announced(db)
    await announced(db, "workflow-server@host:8", [replace(DRAFT, id="app.other")])
    ((_, code, message),) = await publish_draft(db, {"name": "Ada"})
    assert code == "ACTION_NOT_ANNOUNCED"
    assert f"workflow-server@host:8 lacks it and {SERVER} has it" in message


async def test_an_action_nobody_has_ever_announced_is_refused_unless_it_is_accepted(db: Database) -> None:
    await announced(db, actions=[replace(DRAFT, id="app.drift")])
    ((severity, code, message),) = await publish_draft(db, {"name": "Ada"})
    assert (severity, code) == ("error", "UNKNOWN_ACTION")
    assert "no process has announced it" in message
    ((severity, code, _),) = await publish_draft(db, {"name": "Ada"}, accept_unknown_actions=True)
    assert (severity, code) == ("warning", "UNKNOWN_ACTION")
