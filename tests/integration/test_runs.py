"""Authored runs on a real Temporal and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from harness.authored import TENANT, authored_runtime
from harness.interpreted import counted, document, wait
from workflows_core.execution import regular_action
from workflows_core.execution.policy import RunPolicy
from workflows_core.storage.database import Database
from workflows_core.storage.runs import NewRun, insert_run
from workflows_core.wire import names

pytestmark = pytest.mark.asyncio(loop_scope="session")


def act(name: str, save_as: str | None = None, action: str = "test.act", **fields: Any) -> dict[str, Any]:
    config: dict[str, Any] = {"actionId": action, "version": 1, "inputMapping": {"name": name}}
    if save_as:
        config["saveAs"] = save_as
    config["inputMapping"].update(fields.pop("input", {}))
    return {"type": "action.call", "config": config, **fields}


def assign(**targets: str) -> dict[str, Any]:
    return {"type": "transform.assign", "config": {"assign": {f"vars.{k}": {"$expr": v} for k, v in targets.items()}}}


async def test_a_run_acts_and_everything_is_recorded(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(
            document(assign(n="payload.n + 1"), act("one", "first"), act("two", input={"n": {"$expr": "vars.n"}})),
            {"n": 4},
        )
        result = await run.handle.result()
        timeline = await run.timeline()
    assert result["scopes"]["vars"] == {"n": 5, "first": {"name": "one", "calls": 1}}
    assert [name for name, _ in authored.effects.calls] == ["one", "two"]
    assert authored.effects.calls[1][1]["n"] == 5
    assert (timeline.run.status, timeline.run.error_json) == ("SUCCEEDED", None)
    assert [(s.step_path, s.status, s.attempt) for s in timeline.steps] == [
        ("root.steps[0]", "SUCCEEDED", 1),
        ("root.steps[1]", "SUCCEEDED", 1),
        ("root.steps[2]", "SUCCEEDED", 1),
    ]
    assert [(i.action_id, i.status) for i in timeline.invocations] == [("test.act", "SUCCEEDED")] * 2


async def test_an_action_does_not_end_before_its_begin_though_the_clock_is_set_back(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was shown with so many milliseconds below zero."""
    async with authored_runtime(db, client) as authored:
        gate = authored.effects.gates["one"] = asyncio.Event()
        run = await authored.start(document(act("one"), wait()), {"id": "k1"})
        while not authored.effects.count("one"):
            await asyncio.sleep(0.02)
        monkeypatch.setattr(regular_action, "time", SimpleNamespace(time=lambda: time.time() - 3_600))
        gate.set()
        timeline = await run.until("WAITING")
    (ended,) = [step for step in timeline.steps if step.step_type == "action.call"]
    assert (ended.status, ended.duration_ms) == ("SUCCEEDED", 0)


async def test_history_is_the_handwritten_one_plus_seven_events(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(*(act(f"a{n}") for n in range(10))))
        await run.handle.result()
        length = (await run.handle.describe()).history_length
    by_hand = 10 * 3 + 11 * 3 + 2
    assert length <= by_hand + 7


async def test_hole_5_a_failure_keeps_its_category_message_and_details(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["one"] = ["TransientError"]
        run = await authored.start(document(act("one")))
        with pytest.raises(WorkflowFailureError) as failed:
            await run.handle.result()
        timeline = await run.timeline()
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "WorkflowRuntimeV2.TransientError"
    error = timeline.run.error_json
    assert error is not None
    assert (error["category"], error["message"], error["code"]) == ("TransientError", "scripted", "SCRIPTED")
    assert (error["nodePath"], error["details"]) == ("root.steps[0]", {"n": "one"})
    assert timeline.run.status == "FAILED"


async def test_hole_3_an_authored_retry_succeeds_with_the_same_key(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["one"] = ["TransientError", "TransientError"]
        retry = {"maxAttempts": 3, "backoffMs": 1, "retryOn": ["TransientError"]}
        run = await authored.start(document(act("one", "out", retry=retry)))
        await run.handle.result()
        timeline = await run.timeline()
    assert [call["attempt"] for _, call in authored.effects.calls] == [1, 2, 3]
    assert len({call["key"] for _, call in authored.effects.calls}) == 1
    assert [(s.status, s.attempt) for s in timeline.steps] == [("SUCCEEDED", 3)]
    assert [(i.status, i.attempt) for i in timeline.invocations] == [("SUCCEEDED", 3)]


async def test_on_error_continue_goes_on_with_the_error_in_scope(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["one"] = ["ActionError"]
        run = await authored.start(document(act("one", onError={"policy": "continue"}), assign(why="error.message")))
        result = await run.handle.result()
        timeline = await run.timeline()
    assert result["scopes"]["vars"] == {"why": "scripted"}
    assert [s.status for s in timeline.steps] == ["FAILED", "SUCCEEDED"]
    assert timeline.run.status == "SUCCEEDED"


async def test_hole_17_a_secret_reaches_the_handler_and_nothing_else(db: Database, client: Client) -> None:
    async with authored_runtime(db, client, secrets={"API_TOKEN": "s3cr3t-value"}) as authored:
        run = await authored.start(document(act("one", "out", input={"token": {"$secret": "API_TOKEN"}})))
        await run.handle.result()
        timeline = await run.timeline()
        history = (await run.handle.fetch_history()).to_json()
    assert authored.effects.calls[0][1]["token"] == "s3cr3t-value"
    assert timeline.invocations[0].input_json == {"name": "one", "token": {"$secret": "API_TOKEN"}}
    assert "s3cr3t-value" not in history
    assert "s3cr3t-value" not in str(timeline)


async def test_what_data_says_is_no_secret_reference(db: Database, client: Client) -> None:
    reference = {"$secret": "API_TOKEN"}
    async with authored_runtime(db, client, secrets={"API_TOKEN": "s3cr3t-value"}) as authored:
        mapping = {"token": reference, "note": {"$expr": "payload.note"}, "all": {"$expr": "[payload]"}}
        run = await authored.start(document(act("one", "out", input=mapping), act("two")), {"note": reference})
        await run.handle.result()
    given = authored.effects.calls[0][1]
    assert (given["token"], given["note"], given["all"]) == ("s3cr3t-value", reference, [{"note": reference}])


async def test_hole_14_a_waiting_run_says_so_and_a_bare_signal_resumes_it(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(wait("PAID", "payload.id"), act("after")), {"id": "k1"})
        waiting = await run.until("WAITING")
        assert waiting.run.waiting_for is not None
        assert waiting.run.waiting_for["waits"][0]["key"] == "k1"
        assert [(w.wait_type, w.event_name, w.key, w.status) for w in waiting.waits] == [
            ("event", "PAID", "k1", "WAITING")
        ]
        assert (await run.handle.query(names.QUERY_CURRENT_WAIT))["waits"][0]["eventName"] == "PAID"
        body = {"eventId": "e1", "eventName": "PAID", "correlationKey": "k1", "payload": {"amount": 5}}
        await run.handle.signal(names.SIGNAL_EVENT, body)
        result = await run.handle.result()
        timeline = await run.timeline()
    assert result["scopes"]["vars"]["event"] == {"amount": 5}
    assert [(w.status, w.matched_event_id) for w in timeline.waits] == [("RESOLVED", "e1")]


@pytest.mark.parametrize("sent", [[], [{}, {}], ["text"], [None, None, None]])
async def test_a_signal_that_holds_nothing_or_too_much_stops_no_run(
    db: Database, client: Client, sent: list[Any]
) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(wait("PAID", "payload.id")), {"id": "k1"})
        await run.until("WAITING")
        for name in (names.SIGNAL_EVENT, names.SIGNAL_HUMAN_TASK, names.SIGNAL_QUOTA_RESUME):
            await run.handle.signal(name, args=sent)
        body = {"eventId": "e1", "eventName": "PAID", "correlationKey": "k1", "payload": {"amount": 5}}
        await run.handle.signal(names.SIGNAL_EVENT, args=[body, *sent])
        result = await run.handle.result()
        logs = (await run.timeline()).logs
    assert result["scopes"]["vars"]["event"] == {"amount": 5}
    assert [line.message.partition(":")[0] for line in logs] == ["a signal was ignored"] * 2


@pytest.mark.parametrize("levels", [100, 101, 900])
async def test_a_signal_is_as_deep_as_an_event_may_be_and_a_deeper_one_is_ignored(
    db: Database, client: Client, levels: int
) -> None:
    """It was kept, and a run that can write its state no more stands still."""
    payload: Any = json.loads('{"a":' * levels + "1" + "}" * levels)
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(wait("PAID", "payload.id")), {"id": "k1"})
        await run.until("WAITING")
        body = {"eventId": "deep", "eventName": "PAID", "correlationKey": "k1", "payload": payload}
        await run.handle.signal(names.SIGNAL_HUMAN_TASK, {"taskId": "none", "payload": payload})
        await run.handle.signal(names.SIGNAL_EVENT, body)
        await run.handle.signal(names.SIGNAL_EVENT, {**body, "eventId": "flat", "payload": 1})
        result = await run.handle.result()
        logs = [line.message for line in (await run.timeline()).logs]
    assert result["scopes"]["vars"]["event"] == (payload if levels == 100 else 1)
    ignored = [line.partition("ignored: ")[2] for line in logs if "nested deeper than 100 levels" in line]
    assert [line[:19] for line in ignored] == ([] if levels == 100 else ["the answer to task ", "the payload of even"])


async def test_a_value_that_grows_deeper_with_each_pass_fails_the_run_with_a_name(db: Database, client: Client) -> None:
    """The run stood still: beyond some 900 levels nothing of it could be written."""
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(counted(1_100, deeper="{'a': coalesce(vars.deeper, 1)}")), {"id": "k1"})
        with pytest.raises(WorkflowFailureError):
            await run.handle.result()
        error = (await run.timeline()).run.error_json
    assert error is not None
    assert (error["category"], "200 levels of nesting (max_depth)" in error["message"]) == ("ExpressionError", True)


@pytest.mark.parametrize("given", [[], [{}, {}], ["text"]])
async def test_a_run_that_is_started_with_nothing_or_too_much_fails_at_once(
    db: Database, client: Client, given: list[Any]
) -> None:
    async with authored_runtime(db, client):
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(
                names.RUN_WORKFLOW,
                args=given,
                id=names.workflow_id_of(uuid.uuid4().hex),
                task_queue=names.AUTHORED_QUEUE,
            )
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "WorkflowRuntimeV2.ValidationError"
    assert "RUN_INPUT_INVALID" in failed.value.cause.message


async def test_a_wait_that_times_out_is_recorded_as_timed_out(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        one = {**wait("PAID", "payload.id", timeoutMs=1_500), "onError": {"policy": "continue"}}
        run = await authored.start(document(one), {"id": "k1"})
        await run.handle.result()
        timeline = await run.timeline()
    assert [w.status for w in timeline.waits] == ["TIMED_OUT"]
    assert timeline.run.status == "SUCCEEDED"


async def test_hole_7_a_cancel_from_temporal_itself_is_projected(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(wait("PAID", "payload.id")), {"id": "k1"})
        await run.until("WAITING")
        await run.handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await run.handle.result()
        timeline = await run.timeline()
    assert timeline.run.status == "CANCELED"
    assert [s.status for s in timeline.steps] == ["CANCELED"]
    assert [w.status for w in timeline.waits] == ["CANCELED"]


async def test_a_cancel_ends_a_running_action(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        authored.effects.gates["stuck"] = asyncio.Event()
        run = await authored.start(document(act("stuck"), act("never")))
        while not authored.effects.calls:
            await asyncio.sleep(0.02)
        await run.handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await run.handle.result()
        timeline = await run.timeline()
    assert timeline.run.status == "CANCELED"
    assert [s.status for s in timeline.steps] == ["CANCELED"]
    assert authored.effects.count("never") == 0


async def test_a_run_of_a_bare_client_gets_its_row_before_its_first_action(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        authored.effects.gates["one"] = asyncio.Event()
        run = await authored.start(document(act("one")), row=False)
        while not authored.effects.calls:
            await asyncio.sleep(0.02)
        early = await run.timeline()
        authored.effects.gates["one"].set()
        await run.handle.result()
        timeline = await run.timeline()
    assert early.run.status == "RUNNING"
    assert timeline.run.status == "SUCCEEDED"
    assert len(timeline.run.definition_hash) == 64


async def test_a_definition_altered_behind_our_back_is_refused_before_any_effect(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        workflow_id, version, _ = await authored.publish(document(act("one")))
        input_of = {"runId": "r-altered", "tenantId": TENANT, "workflowId": workflow_id, "workflowVersion": version}
        async with db.tenant(TENANT) as conn:
            await insert_run(conn, NewRun("r-altered", workflow_id, version, "0" * 64))
        handle = await client.start_workflow(
            names.RUN_WORKFLOW, input_of, id=names.workflow_id_of("r-altered"), task_queue=names.AUTHORED_QUEUE
        )
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    [said] = failed.value.cause.details
    assert said["code"] == "DEFINITION_ALTERED"
    assert said["message"].startswith(f"version {version} of {workflow_id!r} is not what the run pinned: its content ")
    assert authored.effects.calls == []


async def test_hole_1_continue_as_new_goes_on_where_it_was(db: Database, client: Client) -> None:
    policy = RunPolicy(continue_after_steps=5)
    async with authored_runtime(db, client, policy=policy) as authored:
        steps = [act(f"a{n}", f"o{n}") for n in range(12)] + [wait("PAID", "payload.id"), act("last")]
        run = await authored.start(document(*steps), {"id": "k1"})
        waiting = await run.until("WAITING")
        await run.handle.signal(
            names.SIGNAL_EVENT, {"eventId": "e1", "eventName": "PAID", "correlationKey": "k1", "payload": {}}
        )
        result = await client.get_workflow_handle(run.handle.id).result()
        timeline = await run.timeline()
    assert len(result["scopes"]["vars"]) == 14
    assert waiting.run.generation == 2
    assert timeline.run.status == "SUCCEEDED"
    assert [name for name, _ in authored.effects.calls] == [*(f"a{n}" for n in range(12)), "last"]
    assert {s.status for s in timeline.steps} == {"SUCCEEDED"}


async def test_hole_2_what_came_is_taken_before_a_checkpoint_by_a_task_that_has_done_enough(
    db: Database, client: Client
) -> None:
    costly = {f"vars.x{number}": {"$expr": "$contains('ab', /b/)"} for number in range(5)}
    steps = ({"type": "transform.assign", "config": {"assign": costly}}, wait("PAID", "payload.id"))
    signal = {"eventId": "e1", "eventName": "PAID", "correlationKey": "k1", "payload": {"n": 1}}
    async with authored_runtime(db, client, policy=RunPolicy(continue_after_steps=1)) as authored:
        run = await authored.start(document(*steps), {"id": "k1"}, signal=signal)
        result = await client.get_workflow_handle(run.handle.id).result()
    assert result["scopes"]["vars"]["event"] == {"n": 1}


async def test_thirty_short_actions_with_large_results(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        steps = [act(f"s{n}", f"o{n % 8}", "test.short", input={"size": 60 * 1024}) for n in range(30)]
        run = await authored.start(document(*steps))
        await run.handle.result()
        timeline = await run.timeline()
    assert timeline.run.status == "SUCCEEDED"
    assert len(timeline.steps) == 30
    assert {(i.status, len(i.output_json["text"])) for i in timeline.invocations} == {("SUCCEEDED", 60 * 1024)}


async def test_a_short_result_that_is_too_large_fails_by_name(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(act("s", "o", "test.short", input={"size": 70 * 1024})))
        with pytest.raises(WorkflowFailureError):
            await run.handle.result()
        timeline = await run.timeline()
    assert timeline.run.error_json is not None
    assert timeline.run.error_json["category"] == "PayloadTooLarge"
    assert "register the action without `short`" in timeline.run.error_json["message"]


async def test_short_actions_under_a_flood_of_signals_finish_and_answer_queries(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        steps = [act(f"s{n}", f"o{n}", "test.short", input={"ms": 100}) for n in range(20)]
        run = await authored.start(document(*steps))
        flood = asyncio.create_task(_flood(run.handle, 100))
        answers: list[Any] = []
        asking = asyncio.create_task(_ask(run.handle, answers))
        try:
            await run.handle.result()
            assert not asking.done(), asking.exception()
        finally:
            flood.cancel()
            asking.cancel()
        timeline = await run.timeline()
    assert timeline.run.status == "SUCCEEDED"
    assert [authored.effects.count(f"s{n}") for n in range(20)] == [1] * 20
    # Each workflow task ends after a few of them: in one that lasts as long as the run nobody is answered.
    assert len(answers) >= 5


async def _flood(handle: Any, per_second: int) -> None:
    for number in range(2_000):
        body = {"eventId": f"f{number}", "eventName": "NOISE", "correlationKey": "x", "payload": {}}
        await handle.signal(names.SIGNAL_EVENT, body)
        await asyncio.sleep(1 / per_second)


async def _ask(handle: Any, answers: list[Any]) -> None:
    while True:
        answers.append(await handle.query(names.QUERY_CURRENT_STEP))
        await asyncio.sleep(0.05)


async def test_a_run_without_definition_ends_failed_and_says_why(db: Database, client: Client) -> None:
    async with authored_runtime(db, client):
        handle = await client.start_workflow(
            names.RUN_WORKFLOW,
            {"runId": "r-none", "tenantId": TENANT, "workflowId": "nowhere", "workflowVersion": 3},
            id=names.workflow_id_of("r-none"),
            task_queue=names.AUTHORED_QUEUE,
        )
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert "has no published version 3" in str(failed.value.cause)


async def test_a_run_reset_with_temporals_own_tools_is_refused(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(act("one"), wait("PAID", "payload.id"), act("two")), {"id": "k1"})
        await run.until("WAITING")
        history = await run.handle.fetch_history()
        ends = [e.event_id for e in history.events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
        answer = await client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=run.handle.id, run_id=run.handle.result_run_id or ""),
                reason="a test",
                workflow_task_finish_event_id=ends[0],
                request_id=str(uuid.uuid4()),
            )
        )
        again = client.get_workflow_handle(run.handle.id, run_id=answer.run_id)
        with pytest.raises(WorkflowFailureError) as failed:
            await again.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "WorkflowRuntimeV2.RunReset"
    assert authored.effects.count("two") == 0


async def test_many_failures_of_large_texts_are_told_in_short_and_the_run_goes_on(db: Database, client: Client) -> None:
    """Each row of the steps around them repeated the text: no write could be scheduled, and the run stood still."""
    large = {"vars.x": {"$expr": "$error(payload.text)"}}
    failing: dict[str, Any] = {"id": "f", "type": "transform.assign", "config": {"assign": large}}
    around = failing
    for number in range(3):
        around = {"id": f"p{number}", "type": "control.parallel", "branches": [{"steps": [around]}]}
    loop = {"type": "control.forEach", "items": {"$expr": "[1..8]"}, "itemVar": "i", "body": [around]}
    undone = act("book", onCompensate=[{**failing, "id": "undo"}])
    seen = assign(seen="$error('the whole text: ' & ($length(error.message) > 100000))")
    steps = document(
        undone, {**loop, "onItemError": "continue"}, {**failing, "onError": {"policy": "continue"}, "id": "last"}, seen
    )
    async with authored_runtime(db, client) as authored:
        run = await authored.start({**steps, "compensateOn": ["failure"]}, {"text": "x" * 100_000})
        async with asyncio.timeout(20):
            with pytest.raises(WorkflowFailureError) as failed:
                await run.handle.result()
        timeline = await run.timeline()
    assert "the whole text: true" in str(failed.value.cause)
    said = {
        kind: [s.error_json["message"] for s in timeline.steps if s.step_type == kind and s.error_json]
        for kind in ("transform.assign", "control.parallel")
    }
    said["log"] = [line.message for line in timeline.logs if line.level == "ERROR"]
    assert {kind: (len(found), max(map(len, found)) // 1000) for kind, found in said.items()} == {
        "transform.assign": (11, 4),
        "control.parallel": (24, 0),
        "log": (1, 4),
    }


async def test_hole_2_continue_as_new_by_signal_count_keeps_what_came(db: Database, client: Client) -> None:
    async with authored_runtime(db, client, policy=RunPolicy(continue_after_signals=5)) as authored:
        run = await authored.start(document(wait("PAID", "payload.id"), wait("LATE", "payload.id")), {"id": "k1"})
        await run.until("WAITING")
        handle = client.get_workflow_handle(run.handle.id)
        first = (await handle.describe()).run_id

        async def signal(number: int, name: str) -> None:
            body = {"eventId": f"e{number}", "eventName": name, "correlationKey": "k1", "payload": {"n": number}}
            await handle.signal(names.SIGNAL_EVENT, body)

        for number, name in enumerate(["LATE", *(["NOISE"] * 8)]):
            await signal(number, name)
        # Only then the one it waits for: a run that can finish in the same workflow task has nothing to continue.
        while (await handle.describe()).run_id == first:
            await asyncio.sleep(0.05)
        await signal(9, "PAID")
        result = await handle.result()
        timeline = await run.timeline()
    assert timeline.run.generation >= 1
    assert result["scopes"]["vars"]["event"] == {"n": 0}
    # The second wait was over before any write could name it, so it has no row; its step says what it took.
    assert [w.matched_event_id for w in timeline.waits] == ["e9"]
    assert [step.output_json for step in timeline.steps] == [{"eventId": "e9"}, {"eventId": "e0"}]
