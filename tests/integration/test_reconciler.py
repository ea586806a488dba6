"""The reconciler on real Temporal: what an ended, lost or unfinished run leaves behind."""

from __future__ import annotations

import asyncio
import functools
import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from temporalio import workflow
from temporalio.client import (
    Client,
    DescribeWorkflowInput,
    Interceptor,
    OutboundInterceptor,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from harness.authored import TENANT, Authored, Started, authored_runtime
from harness.ingress import ingress, route
from harness.interpreted import act, document, wait
from harness.repairs import reconciler, reset
from harness.run_records import publish, rows
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.execution.policy import RunPolicy
from workflows_core.execution.scheduled_launch import ScheduledLaunchWorkflow
from workflows_core.launching.launcher import Launcher, LaunchPolicy, LaunchRequest
from workflows_core.launching.problems import RunNotRunning, TemporalUnavailable
from workflows_core.launching.reconciler import Reconciler
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version, save_draft
from workflows_core.storage.rows import RunRow
from workflows_core.storage.runs import NewRun, insert_run
from workflows_core.wire.messages import EventSignal
from workflows_core.wire.names import AUTHORED_QUEUE, workflow_id_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def waiting_run(authored: Authored, *steps: dict[str, object]) -> tuple[str, WorkflowHandle[Any, Any]]:
    run = await authored.start(document(*steps or (wait(),)), {"id": "k1"})
    await run.until("WAITING")
    return run.run_id, run.handle


async def status_of(db: Database) -> dict[str, str]:
    return {row["run_id"]: row["status"] for row in await rows(db, "workflow_runs")}


async def test_hole_8_a_terminated_run_ends_with_everything_that_was_open(db: Database, client: Client) -> None:
    task = {"type": "human.task", "config": {"taskType": "t", "title": {"$expr": "'T'"}}}
    both = [{"steps": [{"id": "w", **wait()}]}, {"steps": [{"id": "t", **task}]}]
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document({"type": "control.parallel", "branches": both}), {"id": "k1"})
        await run.until("WAITING")
        open_one = await authored.start(document(wait()), {"id": "k2"})
        await open_one.until("WAITING")
        await run.handle.terminate("by hand")
        assert (await reconciler(db, client).one_pass()) == {"looked at": 1, "ended": 1}
        timeline = await run.timeline()
        assert (await reconciler(db, client).one_pass()) == {"looked at": 1}
    assert timeline.run.status == "FAILED"
    assert timeline.run.error_json is not None
    assert timeline.run.error_json["code"] == "RUN_ENDED_BY_TEMPORAL"
    assert {w.status for w in timeline.waits} == {"CANCELED"}
    assert {row["status"] for row in await rows(db, "workflow_tasks")} == {"canceled"}
    assert not {s.status for s in timeline.steps} & {"STARTED"}
    assert (await status_of(db))[open_one.run_id] == "WAITING"


@pytest.mark.parametrize("way", ["terminate", "reset"])
async def test_an_event_on_its_way_to_a_run_that_somebody_ends_in_temporal_goes_to_the_next_wait(
    db: Database, client: Client, way: str
) -> None:
    one = wait("PAID", "'same'")
    one["config"]["match"] = "one"
    async with authored_runtime(db, client) as authored:
        run, following = [await authored.start(document(act("first"), one)) for _ in range(2)]
        await run.until("WAITING")
        await following.until("WAITING")
        await publish(db, "e1", "same")
        await route(db)
        (delivery,) = await rows(db, "workflow_event_deliveries")
        ended, other = (run, following) if delivery["run_id"] == run.run_id else (following, run)
        if way == "terminate":
            await ended.handle.terminate("by hand")
        else:
            again = await reset(client, ended)
            with pytest.raises(WorkflowFailureError):
                await again.result()
        assert (await reconciler(db, client).one_pass())["ended"] == 1
        async with ingress(db, client), asyncio.timeout(30):
            result = await other.handle.result()
    assert result["scopes"]["vars"]["event"] == {"amount": 5}
    found = {row["run_id"]: (row["status"], row["reason"]) for row in await rows(db, "workflow_event_deliveries")}
    reason = "the run ended before it recorded that it took the event"
    assert found == {ended.run_id: ("undeliverable", reason), other.run_id: ("consumed", None)}


async def test_a_run_that_somebody_ends_just_as_it_continues_says_what_it_took(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody had worked on its new execution, so what had become of its events was told as unknown, for an operator."""
    onward = functools.partial(workflow.continue_as_new, task_queue="nobody")
    one = wait("PAID", "'same'")
    one["config"]["match"] = "one"
    counts = [
        {"id": f"c{n}", "type": "transform.assign", "config": {"assign": {"vars.n": {"$expr": "1"}}}} for n in range(9)
    ]
    branches = [{"steps": [{"id": "w", **one}]}, {"steps": [{"id": "g", **wait("GO", "payload.id")}, *counts]}]
    async with authored_runtime(db, client, policy=RunPolicy(continue_after_steps=5)) as authored, ingress(db, client):
        with monkeypatch.context() as patched:
            patched.setattr(workflow, "continue_as_new", onward)
            run = await authored.start(document({"type": "control.parallel", "branches": branches}), {"id": "k1"})
            await run.until("WAITING")
            await publish(db, "go", "k1", event_name="GO")
            first = client.get_workflow_handle(run.handle.id, run_id=run.handle.first_execution_run_id)
            while (await first.describe()).status != WorkflowExecutionStatus.CONTINUED_AS_NEW:
                await asyncio.sleep(0.02)
            other = await authored.start(document(one))
            await other.until("WAITING")
            await publish(db, "paid", "same")
            while "paid" not in await accepted(db):
                await asyncio.sleep(0.02)
            await client.get_workflow_handle(run.handle.id).terminate("by hand")
            assert await reconciler(db, client).one_pass() == {"looked at": 1, "ended": 1}
        async with asyncio.timeout(30):
            await other.handle.result()
    found = {(row["event_id"], row["run_id"]): row["status"] for row in await rows(db, "workflow_event_deliveries")}
    assert found == {
        ("go", run.run_id): "consumed",
        ("paid", run.run_id): "undeliverable",
        ("paid", other.run_id): "consumed",
    }


async def accepted(db: Database) -> set[str]:
    """Events that Temporal has for a run."""
    found = await rows(db, "workflow_event_deliveries")
    return {row["event_id"] for row in found if row["status"] == "accepted"}


async def test_hole_8_a_parent_hears_of_a_child_that_was_terminated(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        child, _, _ = await authored.publish(document({**wait("NEVER", "'k'")}))
        call = {"type": "control.callWorkflow", "workflowId": child, "workflowVersion": 1}
        run = await authored.start(document({**call, "onError": {"policy": "continue"}}))
        await run.until("WAITING")
        below = next(row for row in await rows(db, "workflow_runs") if row["parent_run_id"] == run.run_id)
        await client.get_workflow_handle(below["temporal_workflow_id"]).terminate("by hand")
        await reconciler(db, client).one_pass()
        result = await run.handle.result()
    assert result["scopes"]["error"]["details"]["cause"]["code"] == "RUN_ENDED_BY_TEMPORAL"


async def test_what_a_terminated_run_has_started_is_cancelled_with_it(db: Database, client: Client) -> None:
    """It went on for nobody: its parent was FAILED, and a redrive began another child beside it."""
    async with authored_runtime(db, client) as authored, ingress(db, client):
        child, _, _ = await authored.publish(document({**wait("NEVER", "'k'")}))
        calls = [
            {"id": f"c{n}", "type": "control.callWorkflow", "workflowId": child, "workflowVersion": 1} for n in range(2)
        ]
        branches = [{"steps": [one]} for one in calls]
        run, other = [
            await authored.start(document({"type": "control.parallel", "branches": branches})) for _ in range(2)
        ]
        while sorted((await status_of(db)).values()) != ["WAITING"] * 6:
            await asyncio.sleep(0.02)
        await run.handle.terminate("by hand")
        await reconciler(db, client).one_pass()
        below = [row["run_id"] for row in await rows(db, "workflow_runs") if row["parent_run_id"] == run.run_id]
        for child_id in below:
            cancelled = Started(authored, child_id, client.get_workflow_handle(workflow_id_of(child_id)))
            async with asyncio.timeout(15):
                lines = [line.message for line in (await cancelled.until("CANCELED")).logs]
            assert any(run.run_id in line and "does not need it any more" in line for line in lines)
        found = await status_of(db)
    assert len(below) == 2
    assert found.pop(run.run_id) == "FAILED"
    assert found.pop(other.run_id) == "WAITING"
    assert sorted(found.values()) == ["CANCELED", "CANCELED", "WAITING", "WAITING"]


async def test_a_child_that_was_not_started_yet_when_its_parent_ended_is_not_started(
    db: Database, client: Client
) -> None:
    """Its launch was finished a minute later, for nobody."""
    async with authored_runtime(db, client) as authored:
        parent = await authored.start(document(act("parent")))
        await parent.handle.result()
        for run_id, parent_id in (("of-none", None), ("of-an-ended-one", parent.run_id)):
            workflow_id, version, content = await authored.publish(document(act(mapping={"name": run_id})))
            async with db.tenant(TENANT) as conn:
                await insert_run(conn, NewRun(run_id, workflow_id, version, content, parent_run_id=parent_id))
        assert await reconciler(db, client).one_pass() == {"launched": 1, "ended": 1}
        await client.get_workflow_handle(workflow_id_of("of-none")).result()
        found = {row["run_id"]: row for row in await rows(db, "workflow_runs")}
        assert (authored.effects.count("of-none"), authored.effects.count("of-an-ended-one")) == (1, 0)
    assert found["of-none"]["status"] == "SUCCEEDED"
    assert found["of-an-ended-one"]["status"] == "CANCELED"
    assert found["of-an-ended-one"]["error_json"]["code"] == "PARENT_ENDED"


async def test_hole_8_a_run_that_temporal_does_not_know_is_of_unknown_outcome(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        workflow_id, version, content = await authored.publish(document(wait()))
        async with db.tenant(TENANT) as conn:
            await insert_run(conn, NewRun("lost", workflow_id, version, content))
            await conn.execute(text("UPDATE workflow_runs SET status = 'RUNNING' WHERE run_id = 'lost'"))
        await reconciler(db, client).one_pass()
    (row,) = await rows(db, "workflow_runs")
    assert (row["status"], row["error_json"]["category"]) == ("FAILED", "UnknownOutcome")


class _OneUnanswered(Interceptor):
    """Temporal does not answer for one run, as when the connection broke just then."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's name
        return _Describing(next)


class _Describing(OutboundInterceptor):
    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:  # noqa: A002
        if input.id == workflow_id_of("lost-00"):
            raise RPCError("transport error", RPCStatusCode.UNAVAILABLE, b"")
        return await super().describe_workflow(input)


async def test_a_pass_that_one_run_spoils_has_looked_at_the_others_when_it_ends(db: Database, client: Client) -> None:
    """They were looked at beside the next pass, and beside a process that had closed its connections."""
    runs = [f"lost-{number:02}" for number in range(40)]
    async with authored_runtime(db, client) as authored:
        workflow_id, version, content = await authored.publish(document(wait()))
    async with db.tenant(TENANT) as conn:
        for run_id in runs:
            await insert_run(conn, NewRun(run_id, workflow_id, version, content))
        await conn.execute(text("UPDATE workflow_runs SET status = 'RUNNING'"))
    config = client.config()
    config["interceptors"] = [*config["interceptors"], _OneUnanswered()]
    with pytest.raises(RPCError):
        await reconciler(db, Client(**config)).one_pass()
    assert await status_of(db) == {run_id: "RUNNING" if run_id == runs[0] else "FAILED" for run_id in runs}


@pytest.mark.parametrize(("ends", "seen"), [(False, "looked at"), (True, "ended")], ids=["open", "terminated"])
async def test_a_launch_that_can_never_be_finished_is_told_by_its_row_and_spoils_no_pass(
    db: Database, client: Client, ends: bool, seen: str
) -> None:
    """And what became of the run that has the id, another tenant's, is not its end."""
    run_id = f"taken-{uuid.uuid4()}"
    async with authored_runtime(db, client) as authored:
        workflow_id, version, content = await authored.publish(document(wait()), "orders")
    async with db.tenant("other") as conn:
        await save_draft(conn, workflow_id="theirs", key="orders", name="orders", document=document(wait()))
        await publish_version(conn, "theirs", document(wait()))
    await Launcher(db, client).launch(LaunchRequest("other", "orders", run_id=run_id))
    if ends:
        await client.get_workflow_handle(workflow_id_of(run_id)).terminate("by hand")
    async with db.tenant(TENANT) as conn:
        await insert_run(conn, NewRun(run_id, workflow_id, version, content))
    assert await reconciler(db, client).one_pass() == {seen: 1, "rejected": 1}
    found = {row["tenant"]: (row["status"], row["error_json"]) for row in await rows(db, "workflow_runs")}
    assert found[TENANT][0] == "FAILED"
    assert found[TENANT][1]["code"] == "RUN_ID_TAKEN"


async def test_a_run_that_was_too_long_as_a_whole_says_so(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        await authored.publish(document(wait()), "orders")
    policy = LaunchPolicy(execution_timeout=timedelta(seconds=1))
    launched = await Launcher(db, client, policy).launch(LaunchRequest(TENANT, "orders", payload={"id": "k1"}))
    with pytest.raises(WorkflowFailureError):
        await client.get_workflow_handle(launched.temporal_workflow_id).result()
    assert await reconciler(db, client).one_pass() == {"ended": 1}
    (row,) = await rows(db, "workflow_runs")
    assert (row["status"], row["error_json"]["category"]) == ("FAILED", "TimeoutError")


async def test_a_launch_that_was_cut_short_is_finished(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        workflow_id, version, content = await authored.publish(document(act("a")))
        async with db.tenant(TENANT) as conn:
            await insert_run(conn, NewRun("half", workflow_id, version, content, payload={"n": 1}))
        assert (await reconciler(db, client).one_pass()) == {"launched": 1}
        await client.get_workflow_handle(workflow_id_of("half")).result()
    assert await status_of(db) == {"half": "SUCCEEDED"}


async def test_a_launch_that_was_cut_short_is_finished_before_its_turn(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        await waiting_run(authored)
        workflow_id, version, content = await authored.publish(document(act("a")))
        async with db.tenant(TENANT) as conn:
            await insert_run(conn, NewRun("~behind-all-others", workflow_id, version, content))
        assert (await reconciler(db, client, batch_size=1).one_pass()) == {"looked at": 1, "launched": 1}


async def test_a_launch_that_temporal_has_and_the_row_does_not_tell_is_finished(db: Database, client: Client) -> None:
    """It stayed STARTING until the run wrote something, and its checkpoint stayed for good."""
    async with authored_runtime(db, client) as authored:
        run_id, _ = await waiting_run(authored)
        async with db.tenant(TENANT) as conn:
            await conn.execute(
                text("UPDATE workflow_runs SET status = 'STARTING', launch_json = '{}', temporal_run_id = NULL")
            )
        assert (await reconciler(db, client).one_pass()) == {"launched": 1}
        (row,) = await rows(db, "workflow_runs")
        described = await client.get_workflow_handle(workflow_id_of(run_id)).describe()
    assert (row["status"], row["launch_json"], row["temporal_run_id"]) == ("RUNNING", None, described.run_id)


async def test_a_run_that_temporal_lists_as_ended_does_not_wait_for_its_turn(db: Database, client: Client) -> None:
    """With 60,000 runs that waited it was found after two hours and a half."""
    async with authored_runtime(db, client) as authored:
        await authored.publish(document(wait()), key="orders")
        launcher = Launcher(db, client)
        ended, *others = [
            await launcher.launch(LaunchRequest(TENANT, "orders", payload={"id": f"k{number}"})) for number in range(3)
        ]
        await client.get_workflow_handle(ended.temporal_workflow_id).terminate("by hand")
        # None is quiet for long enough: it is not the rounds that find it.
        busy = reconciler(db, client, quiet_seconds=3600)
        async with asyncio.timeout(30):
            while not (done := await busy.one_pass()):
                await asyncio.sleep(0.1)
        assert done == {"ended": 1}
        assert await busy.one_pass() == {}
        found = await status_of(db)
    assert found.pop(ended.run_id) == "FAILED"
    assert found.keys() == {one.run_id for one in others}
    assert "FAILED" not in found.values()


async def test_what_is_listed_as_ended_and_cannot_be_answered_for_keeps_no_other_waiting(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pass asked for the same ones, and for no other for an hour."""
    async with authored_runtime(db, client) as authored:
        await authored.publish(document(wait()), key="orders")
    asked: set[str] = set()

    async def unreadable(_: Reconciler, row: RunRow, execution: str | None = None) -> None:
        asked.add(row.run_id)
        raise RPCError("nobody polls", RPCStatusCode.DEADLINE_EXCEEDED, b"")

    monkeypatch.setattr(Reconciler, "_consumed", unreadable)
    runs = [await Launcher(db, client).launch(LaunchRequest(TENANT, "orders")) for _ in range(3)]
    for run in runs:
        await client.get_workflow_handle(run.temporal_workflow_id).terminate("by hand")
    two = reconciler(db, client, quiet_seconds=3600, batch_size=2)
    async with asyncio.timeout(10):
        while len(await two._listed_as_ended()) < 3:
            await asyncio.sleep(0.1)
    assert [await two.one_pass() for _ in range(2)] == [{"not answered for": 2}, {"not answered for": 1}]
    assert asked == {run.run_id for run in runs}
    assert await two.one_pass() == {"not answered for": 2}


async def test_passes_go_round_and_leave_alone_what_was_just_written(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        for _ in range(3):
            await waiting_run(authored)
        two = reconciler(db, client, batch_size=2)
        assert [sum((await two.one_pass()).values()) for _ in range(4)] == [2, 1, 2, 1]
        assert await reconciler(db, client, quiet_seconds=60).one_pass() == {}


async def test_a_namespace_that_is_missing_ends_no_run(
    db: Database, client: Client, temporal: EmbeddedTemporal
) -> None:
    """Temporal answers for it with the same status as for a run that it does not know."""
    away = await Client.connect(temporal.address, namespace="not-there")
    async with authored_runtime(db, client) as authored:
        run_id, _ = await waiting_run(authored)
        with pytest.raises(RPCError, match="not-there"):
            await reconciler(db, away).one_pass()
        with pytest.raises(TemporalUnavailable):
            await Launcher(db, away).cancel(TENANT, run_id, "by hand")
        assert await status_of(db) == {run_id: "WAITING"}
        assert (await reconciler(db, client).one_pass()) == {"looked at": 1}


async def test_an_id_that_speaks_of_a_namespace_is_an_id(db: Database, client: Client) -> None:
    signal = EventSignal(event_id="e", event_name="PAID", correlation_key="k", payload={})
    with pytest.raises(RunNotRunning):
        await Launcher(db, client).signal("namespace-1", signal)


async def test_what_an_ended_run_took_is_asked_for_until_somebody_can_answer(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run_id, _ = await waiting_run(authored)
        await publish(db, "e1", key="k1")
        await route(db)
    await client.get_workflow_handle(workflow_id_of(run_id)).terminate("by hand")
    assert (await reconciler(db, client, query_seconds=0.5).one_pass()) == {"not answered for": 1}
    assert await status_of(db) == {run_id: "WAITING"}
    async with authored_runtime(db, client):
        assert (await reconciler(db, client).one_pass()) == {"ended": 1}
    (delivery,) = await rows(db, "workflow_event_deliveries")
    assert (await status_of(db))[run_id] == "FAILED"
    assert (delivery["status"], "unknown" in str(delivery["reason"])) == ("undeliverable", False)


async def test_what_an_ended_run_took_is_unknown_where_its_history_cannot_be_replayed(
    db: Database, client: Client
) -> None:
    async with authored_runtime(db, client) as authored:
        run_id, _ = await waiting_run(authored)
        await publish(db, "e1", key="k1")
        await route(db)
    await client.get_workflow_handle(workflow_id_of(run_id)).terminate("by hand")
    async with Worker(client, task_queue=AUTHORED_QUEUE, workflows=[ScheduledLaunchWorkflow]):
        assert (await reconciler(db, client).one_pass()) == {"ended": 1}
    (delivery,) = await rows(db, "workflow_event_deliveries")
    assert (delivery["status"], "outcome unknown" in str(delivery["reason"])) == ("undeliverable", True)
