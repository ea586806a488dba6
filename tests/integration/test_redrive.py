"""A failed run again from a step: what is kept, what is repeated, what is refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg
import pytest
from temporalio.client import Client, WorkflowFailureError

from harness.authored import TENANT, Authored, Started, authored_runtime
from harness.databases import MigratedDatabase
from harness.forwarding import Forwarder
from harness.ingress import ingress
from harness.interpreted import document, wait
from harness.run_records import publish, rows
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.actions.registry import Pack
from workflows_core.errors import Refused
from workflows_core.ingress.router import run_id_of_start
from workflows_core.launching.launcher import Launcher, LaunchPolicy
from workflows_core.launching.problems import TemporalUnavailable
from workflows_core.launching.reconciler import Reconciler, ReconcilerPolicy
from workflows_core.launching.request import LaunchedRun
from workflows_core.publishing.contracts import import_schemas
from workflows_core.redriving.redrive import plan_redrive, redrive, replay
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version
from workflows_core.wire.names import workflow_id_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


def act(name: str, **fields: Any) -> dict[str, Any]:
    config = {"actionId": "test.act", "version": 1, "inputMapping": {"name": name}, "saveAs": name}
    return {"id": name, "type": "action.call", "config": config, **fields}


async def failed(run: Started) -> None:
    with pytest.raises(WorkflowFailureError):
        await run.handle.result()


def again(authored: Authored, run_id: str) -> Started:
    return Started(authored, run_id, authored.client.get_workflow_handle(workflow_id_of(run_id)))


async def redriven(authored: Authored, run: Started, step: str) -> Started:
    planned = await plan_redrive(authored.db, TENANT, run.run_id, step)
    await redrive(authored.db, Launcher(authored.db, authored.client), TENANT, planned, "the receiver is back")
    return again(authored, planned.new_run_id)


async def test_a_redrive_keeps_what_came_before_and_repeats_the_rest(db: Database, client: Client) -> None:
    loop = {
        "type": "control.forEach",
        "items": {"$expr": "['x', 'y', 'z']"},
        "itemVar": "item",
        "body": [{**act("call"), "id": "call"}],
    }
    loop["body"][0]["config"]["inputMapping"] = {"name": {"$expr": "item"}}  # type: ignore[index]
    async with authored_runtime(db, client) as authored, ingress(db, client):
        authored.effects.failures["y"] = ["ActionError"]
        steps = [act("one"), wait("PAID", "payload.id", assign={"paid": {"$expr": "event.n"}}), loop, act("last")]
        run = await authored.start(document(*steps), {"id": "k1"})
        await run.until("WAITING")
        await publish(db, "e1", "k1", payload={"n": 5})
        await failed(run)
        planned = await plan_redrive(db, TENANT, run.run_id, "root.steps[2].body[1].steps[0]")
        assert planned.kept == ("root.steps[0]", "root.steps[1]", "root.steps[2]", "root.steps[2].body[0].steps[0]")
        assert planned.repeated == ["root.steps[2].body[1].steps[0]"]
        authored.effects.calls.clear()
        await redrive(db, Launcher(db, client), TENANT, planned, "the receiver is back")
        new = again(authored, planned.new_run_id)
        result = await new.handle.result()
    assert [name for name, _ in authored.effects.calls] == ["y", "z", "last"]
    assert (result["scopes"]["vars"]["paid"], result["scopes"]["vars"]["one"]["name"]) == (5, "one")
    timeline = await new.timeline()
    assert timeline.run.trigger_metadata_json["redriveOfRunId"] == run.run_id
    statuses = {step.step_path: step.status for step in timeline.steps}
    assert set(planned.kept) < set(statuses)
    assert set(statuses.values()) == {"SUCCEEDED"}
    assert any(planned.new_run_id in line.message for line in (await run.timeline()).logs)


async def test_what_meta_says_of_the_event_that_started_a_run_holds_for_the_runs_in_its_place(
    db: Database, client: Client
) -> None:
    said = "$string(meta.triggerMappingApplied) & ' ' & meta.sourcePayloadSchemaRef"
    trigger = {"type": "event", "eventName": "ORDERED", "payloadMapping": {"id": "1"}}
    steps = [
        {"type": "transform.assign", "config": {"assign": {"vars.before": {"$expr": said}}}},
        act("last"),
        {"type": "control.return", "value": {"$expr": f"[before, {said}]"}},
    ]
    async with authored_runtime(db, client) as authored, ingress(db, client), asyncio.timeout(60):
        authored.effects.failures["last"] = ["ActionError"]
        started, _, _ = await authored.publish({**document(*steps), "trigger": trigger})
        async with db.tenant(TENANT) as conn:
            await import_schemas(conn, {"payload.Ordered.v1": {}})
        await publish(db, "o1", event_name="ORDERED", payload_schema_ref="payload.Ordered.v1")
        run_id = run_id_of_start(TENANT, "o1", started)
        while [(row["run_id"], row["status"]) for row in await rows(db, "workflow_runs")] != [(run_id, "FAILED")]:
            await asyncio.sleep(0.05)
        of_redrive = await redriven(authored, again(authored, run_id), "last")
        replayed = await replay(db, Launcher(db, client), TENANT, run_id, "the receiver is back", again=True)
        ends = [await run.handle.result() for run in (of_redrive, again(authored, replayed.run_id))]
    assert [end["result"] for end in ends] == [["true payload.Ordered.v1"] * 2] * 2


async def test_what_the_run_has_undone_is_kept_only_by_somebody_who_says_so(db: Database, client: Client) -> None:
    charged = act("charge", onCompensate=[act("refund")])
    definition = {**document(act("look"), charged, act("ship")), "compensateOn": ["failure"]}
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["ship"] = ["ActionError"]
        run = await authored.start(definition, {})
        await failed(run)
        assert [name for name, _ in authored.effects.calls] == ["look", "charge", "ship", "refund"]
        planned = await plan_redrive(db, TENANT, run.run_id, "ship")
        assert (planned.undone, planned.repeated) == (["root.steps[1]"], ["root.steps[2]"])
        launcher = Launcher(db, client)
        with pytest.raises(Refused) as refusal:
            await redrive(db, launcher, TENANT, planned, "the receiver is back")
        assert [(one.code, "root.steps[1]" in one.message) for one in refusal.value.problems] == [
            ("REDRIVE_KEEPS_UNDONE", True)
        ]
        authored.effects.calls.clear()
        await redrive(db, launcher, TENANT, planned, "nothing was refunded", keep_undone=True)
        await again(authored, planned.new_run_id).handle.result()
        assert [name for name, _ in authored.effects.calls] == ["ship"]
        assert (await plan_redrive(db, TENANT, run.run_id, "charge")).undone == []


async def test_undoing_again_says_what_it_repeats(db: Database, client: Client) -> None:
    steps = [act(name, onCompensate=[act(f"undo_{name}")]) for name in ("one", "two", "three")]
    definition = {**document(*steps, act("ship")), "compensateOn": ["failure"]}
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["ship"] = authored.effects.failures["undo_two"] = ["ActionError"]
        run = await authored.start(definition, {})
        await failed(run)
        planned = await plan_redrive(db, TENANT, run.run_id, "undo_two")
        authored.effects.calls.clear()
        await redrive(db, Launcher(db, client), TENANT, planned, "it can be undone now", keep_undone=True)
        await failed(again(authored, planned.new_run_id))
    assert [name for name, _ in authored.effects.calls] == ["undo_two", "undo_one"]
    assert planned.repeated == ["root.steps[1].onCompensate.steps[0]", "root.steps[0].onCompensate.steps[0]"]


async def test_a_step_that_the_newer_version_does_not_come_to_is_not_said_to_be_unknown(
    db: Database, client: Client
) -> None:
    def steps(condition: str) -> dict[str, Any]:
        asked = {"id": "if", "type": "control.if", "condition": {"$expr": condition}, "then": [act("one")]}
        return document(
            asked, {"id": "x", "type": "transform.assign", "config": {"assign": {"vars.n": {"$expr": "z"}}}}
        )

    async with authored_runtime(db, client) as authored:
        run = await authored.start(steps("true"), {})
        await failed(run)
        async with db.tenant(TENANT) as conn:
            await publish_version(conn, (await run.timeline()).run.workflow_id, steps("false"))
        with pytest.raises(Refused) as refusal:
            await plan_redrive(db, TENANT, run.run_id, "root.steps[0].then.steps[0]", version=2)
    (problem,) = refusal.value.problems
    assert problem.code == "REDRIVE_STEP_NOT_REACHED"
    assert "this version leads elsewhere" in problem.message


async def test_a_redrive_with_a_newer_version_that_mends_the_step(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        broken = {
            "id": "bad",
            "type": "transform.assign",
            "config": {"assign": {"vars.n": {"$expr": "payload.not.there"}}},
        }
        run = await authored.start(document(act("one"), broken, act("last")), {"id": "k1"})
        await failed(run)
        mended = {**broken, "config": {"assign": {"vars.n": {"$expr": "len(one.name)"}}}}
        workflow_id = (await run.timeline()).run.workflow_id
        async with db.tenant(TENANT) as conn:
            await publish_version(conn, workflow_id, document(act("one"), mended, act("last")))
        planned = await plan_redrive(db, TENANT, run.run_id, "bad", version=2)
        await redrive(db, Launcher(db, client), TENANT, planned, "version 2 mends it")
        result = await again(authored, planned.new_run_id).handle.result()
    assert [name for name, _ in authored.effects.calls] == ["one", "last"]
    assert result["scopes"]["vars"]["n"] == 3


async def test_a_redrive_whose_start_was_cut_short_is_finished_from_its_step(
    db: Database, client: Client, temporal: EmbeddedTemporal
) -> None:
    host, _, port = temporal.address.rpartition(":")
    between = Forwarder(host, int(port))
    await between.open()
    away = Launcher(
        db, await Client.connect(between.address, namespace=temporal.namespace), LaunchPolicy(rpc_seconds=1)
    )
    await between.close()
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["two"] = ["ActionError"]
        run = await authored.start(document(act("one"), act("two")), {"id": "k1"})
        await failed(run)
        planned = await plan_redrive(db, TENANT, run.run_id, "two")
        authored.effects.calls.clear()
        with pytest.raises(TemporalUnavailable):
            await redrive(db, away, TENANT, planned, "once more")
        with pytest.raises(Refused, match=planned.new_run_id) as refusal:
            await redrive(db, away, TENANT, await plan_redrive(db, TENANT, run.run_id, "two"), "once more")
        assert refusal.value.code == "RUN_REPEATED_BEFORE"
        lines = [line.message for line in (await run.timeline()).logs]
        assert lines[-1] == f"the start of run {planned.new_run_id} was answered with TEMPORAL_UNAVAILABLE"
        policy = ReconcilerPolicy(quiet_seconds=0)
        assert await Reconciler(db, client, Launcher(db, client), policy).one_pass() == {"launched": 1}
        await again(authored, planned.new_run_id).handle.result()
    assert [name for name, _ in authored.effects.calls] == ["two"]


async def test_what_cannot_be_redriven_is_refused_with_the_steps_there_are(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["two"] = ["ActionError"]
        run = await authored.start(document(act("one"), act("two"), act("three")))
        await failed(run)
        good = await authored.start(document(act("four")))
        await good.handle.result()
    for run_id, step, version, code in (
        (run.run_id, "three", None, "REDRIVE_STEP_NOT_REACHED"),
        (run.run_id, "nowhere", None, "REDRIVE_STEP_NOT_REACHED"),
        (run.run_id, "two", 9, "WORKFLOW_VERSION_UNKNOWN"),
        (good.run_id, "four", None, "RUN_NOT_ENDED"),
        ("nobody", "one", None, "RUN_NOT_FOUND"),
    ):
        with pytest.raises(Refused) as refused:
            await plan_redrive(db, TENANT, run_id, step, version)
        assert refused.value.code == code
    planned = await plan_redrive(db, TENANT, run.run_id, "two")
    with pytest.raises(Refused, match="REASON_MISSING"):
        await redrive(db, Launcher(db, client), TENANT, planned, " ")


async def cancelled_at(run: Started, status: str) -> None:
    """Cancels the run once its second step has this status."""
    while [step.status for step in (await run.timeline()).steps if step.step_path == "root.steps[1]"] != [status]:
        await asyncio.sleep(0.02)
    await run.handle.cancel()
    await failed(run)


async def test_a_redrive_does_not_pass_a_wait_that_the_run_did_not_sit_out(db: Database, client: Client) -> None:
    day = {"type": "time.wait", "config": {"mode": "duration", "durationMs": 86_400_000}}
    retry = {"maxAttempts": 2, "backoffMs": 86_400_000}
    late = {**wait("PAID", "'k'", timeoutMs=200), "retry": retry, "onError": {"policy": "continue"}}
    async with authored_runtime(db, client) as authored:
        for pause, status in ((day, "STARTED"), (late, "RETRY_SCHEDULED")):
            run = await authored.start(document(act("one"), {**pause, "id": "pause"}, act("last")))
            await cancelled_at(run, status)
            with pytest.raises(Refused, match=r"REDRIVE_STEP_NOT_REACHED.*what came after root\.steps\[1\]"):
                await plan_redrive(db, TENANT, run.run_id, "last")
            assert (await plan_redrive(db, TENANT, run.run_id, "pause")).kept == ("root.steps[0]",)


async def test_a_redrive_passes_waits_that_ended_and_retries_that_came(db: Database, client: Client) -> None:
    short = {"type": "time.wait", "config": {"mode": "duration", "durationMs": 100}}
    retry = {"maxAttempts": 2, "backoffMs": 100}
    late = {**wait("PAID", "'k'", timeoutMs=200), "retry": retry, "onError": {"policy": "continue"}}
    endless = {"type": "time.wait", "config": {"mode": "duration", "durationMs": 86_400_000}}
    race = {
        "type": "control.parallel",
        "wait": "any",
        "branches": [{"steps": [{**endless, "id": "endless"}]}, {"steps": [act("quick")]}],
    }
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["last"] = ["ActionError"]
        run = await authored.start(document(short, late, race, act("last")))
        await failed(run)
        planned = await plan_redrive(db, TENANT, run.run_id, "last")
        assert [path for path in planned.kept if path.count("[") == 1] == [f"root.steps[{n}]" for n in range(3)]
        authored.effects.calls.clear()
        await redrive(db, Launcher(db, client), TENANT, planned, "the receiver is back")
        await again(authored, planned.new_run_id).handle.result()
        steps = {step.step_path: step.status for step in (await again(authored, planned.new_run_id).timeline()).steps}
    assert [name for name, _ in authored.effects.calls] == ["last"]
    assert steps["root.steps[2].branches[0].steps[0]"] == "CANCELED"


def large(name: str, action: str, key: str | None = None) -> dict[str, Any]:
    """A call whose output is over the 2 KiB that a step's row takes."""
    config = {"actionId": action, "version": 1, "inputMapping": {"name": name, "size": 5_000}, "saveAs": name}
    shared = {} if key is None else {"idempotencyKey": {"$expr": f"'{key}'"}}
    return {"id": name, "type": "action.call", "config": {**config, **shared}}


def report_pack(calls: list[str]) -> Pack:
    """`report.make@1`: an idempotent action with a large output."""

    async def make(value: Any, context: ActionContext) -> Any:
        calls.append(context.run_id)
        return {"text": "x" * value["size"]}

    anything = {"type": "object"}
    return lambda: [Action("report.make", 1, make, anything, anything, "Makes one.", effect=Effect.IDEMPOTENT)]


async def test_a_redrive_keeps_a_large_output_that_a_call_of_another_run_gave(db: Database, client: Client) -> None:
    calls: list[str] = []
    steps = document(large("one", "report.make", "shared"), act("bad"), act("worse"))
    async with authored_runtime(db, client, more={"report": report_pack(calls)}) as authored:
        runs = []
        for _ in range(2):
            authored.effects.failures["bad"] = ["ActionError"]
            runs.append(await authored.start(steps))
            await failed(runs[-1])
        assert calls == [runs[0].run_id], "the second run got the output of the first one's call"
        authored.effects.failures["worse"] = ["ActionError"]
        first = await redriven(authored, runs[1], "bad")
        await failed(first)
        second = await redriven(authored, first, "worse")
        result = await second.handle.result()
    assert len(result["scopes"]["vars"]["one"]["text"]) == 5_000
    assert len(calls) == 1


async def test_a_redrive_of_a_redriven_run_keeps_the_large_outputs_of_the_first(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        authored.effects.failures |= {"two": ["ActionError"], "three": ["ActionError"]}
        run = await authored.start(document(large("one", "test.short"), act("two"), act("three")))
        await failed(run)
        first = await redriven(authored, run, "two")
        await failed(first)
        second = await redriven(authored, first, "three")
        result = await second.handle.result()
    assert len(result["scopes"]["vars"]["one"]["text"]) == 5_000


async def test_a_redrive_never_goes_on_with_null_for_an_output_that_is_not_there(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["bad"] = ["ActionError", "ActionError"]
        lost = [large(name, "test.short", "k") for name in ("one", "two")]
        run = await authored.start(document(*lost, act("bad")))
        await failed(run)
        with pytest.raises(Refused, match=r"REDRIVE_STEP_NOT_REACHED.*the output of root\.steps\[\d\] is not recorded"):
            await plan_redrive(db, TENANT, run.run_id, "bad")
        for one in lost:
            del one["config"]["saveAs"]
        run = await authored.start(document(*lost, act("bad")))
        await failed(run)
        assert (await plan_redrive(db, TENANT, run.run_id, "bad")).kept == ("root.steps[0]", "root.steps[1]")


async def test_of_two_redrives_at_once_one_starts_and_the_other_is_told(db: Database, client: Client) -> None:
    """Both had looked before either had started its run: everything behind the step was done twice."""
    launcher = Launcher(db, client)
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["bad"] = ["ActionError"]
        run = await authored.start(document(act("one"), act("bad")))
        await failed(run)
        first, second = [await plan_redrive(db, TENANT, run.run_id, "bad") for _ in range(2)]
        await redrive(db, launcher, TENANT, first, "the receiver is back")
        with pytest.raises(Refused, match=first.new_run_id) as refusal:
            await redrive(db, launcher, TENANT, second, "somebody else saw it too")
        started = again(authored, first.new_run_id)
        await started.handle.result()
        third = await plan_redrive(db, TENANT, run.run_id, "bad")
        other = await replay(db, launcher, TENANT, run.run_id, "from the beginning", again=True)
        with pytest.raises(Refused, match=other.run_id) as against_replay:
            await redrive(db, launcher, TENANT, third, "once more", again=True)
        await again(authored, other.run_id).handle.result()
        last = await plan_redrive(db, TENANT, run.run_id, "bad")
    assert {refusal.value.code, against_replay.value.code} == {"RUN_REPEATED_BEFORE"}
    assert last.earlier == [first.new_run_id, other.run_id]
    assert authored.effects.count("bad") == 3
    assert sum("takes the place" in line.message for line in (await started.timeline()).logs) == 1


async def test_of_two_replays_at_once_with_different_inputs_one_starts_and_the_other_is_told(
    database: MigratedDatabase, db: Database, client: Client
) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(act("one")), {"n": 1})
        await run.handle.result()
        async with await psycopg.AsyncConnection.connect(database.admin_url) as held:
            await held.execute("SELECT 1 FROM workflow_definitions FOR UPDATE")
            launcher = Launcher(db, client)
            both = [
                asyncio.create_task(replay(db, launcher, TENANT, run.run_id, "another input", {"n": number}))
                for number in (2, 3)
            ]
            while sum("another input" in line.message for line in (await run.timeline()).logs) < 2:
                await asyncio.sleep(0.02)
        found = await asyncio.gather(*both, return_exceptions=True)
        started = next(one.run_id for one in found if isinstance(one, LaunchedRun))
        await again(authored, started).handle.result()
    (refusal,) = [one for one in found if isinstance(one, Refused)]
    assert (refusal.code, started in refusal.message) == ("RUN_REPEATED_BEFORE", True)
    assert authored.effects.count("one") == 2


async def test_a_replay_begins_anew_with_the_same_or_another_input(db: Database, client: Client) -> None:
    deep: Any = json.loads("[" * 200 + "]" * 200)
    async with authored_runtime(db, client) as authored:
        run = await authored.start(
            document(act("one"), {"type": "control.return", "value": {"$expr": "payload.n"}}), {"n": 1}
        )
        await run.handle.result()
        launcher = Launcher(db, client)
        with pytest.raises(Refused, match="nested deeper"):
            await replay(db, launcher, TENANT, run.run_id, "refused (run x)", deep)
        same = await replay(db, launcher, TENANT, run.run_id, "to see it again (run y)")
        with pytest.raises(Refused, match=same.run_id) as refusal:
            await replay(db, launcher, TENANT, run.run_id, "the answer was lost")
        other = await replay(db, launcher, TENANT, run.run_id, "with another number", {"n": 2}, again=True)
        results = [(await again(authored, one.run_id).handle.result())["result"] for one in (same, other)]
    assert refusal.value.code == "RUN_REPEATED_BEFORE"
    assert results == [1, 2]
    assert authored.effects.count("one") == 3
