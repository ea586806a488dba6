"""A redrive begins in the very state that the old run had: ids, draws and times that were sent out, what came last."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError

from harness.authored import TENANT, Authored, Started, authored_runtime
from harness.ingress import ingress
from harness.interpreted import document, wait
from harness.run_records import publish
from workflows_core.errors import Refused
from workflows_core.execution.policy import RunPolicy
from workflows_core.launching.launcher import Launcher
from workflows_core.redriving.redrive import plan_redrive, redrive
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version
from workflows_core.wire.names import workflow_id_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


def act(name: str, save_as: str | None = None, action: str = "test.act", **given: str) -> dict[str, Any]:
    mapping = {"name": name, **{field: {"$expr": source} for field, source in given.items()}}
    config = {"actionId": action, "version": 1, "inputMapping": mapping, "saveAs": save_as or name}
    return {"id": name, "type": "action.call", "config": config}


def assign(step_id: str, **given: str) -> dict[str, Any]:
    values = {f"vars.{name}": {"$expr": source} for name, source in given.items()}
    return {"id": step_id, "type": "transform.assign", "config": {"assign": values}}


def parallel(*branches: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {"id": "side", "type": "control.parallel", "branches": [{"steps": steps} for steps in branches], **fields}


async def failed(run: Started) -> None:
    with pytest.raises(WorkflowFailureError):
        await run.handle.result()


async def redriven(authored: Authored, run: Started, step: str) -> Started:
    planned = await plan_redrive(authored.db, TENANT, run.run_id, step)
    await redrive(authored.db, Launcher(authored.db, authored.client), TENANT, planned, "the receiver is back")
    handle = authored.client.get_workflow_handle(workflow_id_of(planned.new_run_id))
    return Started(authored, planned.new_run_id, handle)


async def begun(run: Started, step_path: str, *statuses: str) -> None:
    """Waits until the step's row says one of these."""
    while not any(step.step_path == step_path and step.status in statuses for step in (await run.timeline()).steps):
        await asyncio.sleep(0.02)


async def test_what_was_drawn_timed_and_named_is_kept_and_the_new_run_goes_on_as_itself(
    db: Database, client: Client
) -> None:
    passes = {
        "id": "each",
        "type": "control.forEach",
        "items": {"$expr": "[1, 2]"},
        "itemVar": "n",
        "body": [act("collects")],
        "collect": {"$expr": "$random()"},
        "saveAs": "drawn",
    }
    branch = {
        "id": "luck",
        "type": "control.if",
        "condition": {"$expr": "$random() < 0.5"},
        "then": [assign("heads", coin="'heads'")],
        "else": [assign("tails", coin="'tails'")],
    }
    tried = {
        "id": "tries",
        "type": "control.tryCatch",
        "try": [act("breaks")],
        "catch": [assign("caught", when="error.at")],
    }
    sent = {name: name for name in ("token", "ref", "began", "created", "drawn", "coin", "when")}
    steps = (
        assign("draws", token="$random()", ref="system.runId", began="nowIso()"),
        act("create", token="token"),
        assign("stamps", created="nowIso()"),
        passes,
        branch,
        tried,
        act("ship", **sent),
        assign("after", later="system.runId", fresh="$random()"),
    )
    async with authored_runtime(db, client) as authored:
        authored.effects.failures |= {"ship": ["ActionError"] * 3, "breaks": ["ActionError"]}
        run = await authored.start(document(*steps), {})
        await failed(run)
        new = await redriven(authored, run, "ship")
        await failed(new)
        newer = await redriven(authored, new, "ship")
        await failed(newer)
        newest = await redriven(authored, newer, "ship")
        result = await newest.handle.result()
    calls = [{name: call[name] for name in sent} for name, call in authored.effects.calls if name == "ship"]
    assert len(calls) == 4
    assert calls[1:] == calls[:1] * 3
    assert calls[0]["ref"] == run.run_id
    variables = result["scopes"]["vars"]
    assert variables["later"] == newest.run_id
    assert len({variables["token"], variables["fresh"], *variables["drawn"]}) == 4


async def test_what_ended_last_is_what_is_kept(db: Database, client: Client) -> None:
    steps = (
        parallel([act("slow", "x")], [act("fast", "x")]),
        act("last", given="x.name"),
    )
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["last"] = ["ActionError"]
        gate = authored.effects.gates["slow"] = asyncio.Event()
        run = await authored.start(document(*steps), {})
        await begun(run, "root.steps[0].branches[1].steps[0]", "SUCCEEDED")
        gate.set()
        await failed(run)
        await (await redriven(authored, run, "last")).handle.result()
    assert [call["given"] for name, call in authored.effects.calls if name == "last"] == ["slow", "slow"]


async def test_a_redrive_of_a_redriven_run_passes_what_the_first_one_waited_for(db: Database, client: Client) -> None:
    steps = (wait("PAID", "payload.id", assign={"paid": {"$expr": "event.n"}}), act("two"), act("three"))
    async with authored_runtime(db, client) as authored, ingress(db, client):
        authored.effects.failures |= {"two": ["ActionError"], "three": ["ActionError"]}
        run = await authored.start(document(*steps), {"id": "k1"})
        await run.until("WAITING")
        await publish(db, "e1", "k1", payload={"n": 5})
        await failed(run)
        new = await redriven(authored, run, "two")
        await failed(new)
        result = await (await redriven(authored, new, "three")).handle.result()
    assert result["scopes"]["vars"]["paid"] == 5
    assert (authored.effects.count("two"), authored.effects.count("three")) == (2, 2)


async def test_a_wait_behind_gets_what_the_old_one_took_and_not_what_is_kept(db: Database, client: Client) -> None:
    takes = {"id": "takes", **wait("PAID", "'k1'", assign={"vars.took": {"$expr": "append(vars.took, event.n)"}})}
    books = act("books")
    books["config"]["inputMapping"]["name"] = {"$expr": "'books-' & $string(item)"}
    each = {"id": "each", "type": "control.forEach", "items": {"$expr": "[1, 2, 3]"}, "itemVar": "item"}
    steps = (assign("none", took="[]"), {**each, "body": [takes, books]})
    async with authored_runtime(db, client) as authored, ingress(db, client):
        authored.effects.failures |= {"books-2": ["ActionError", "ActionError"]}
        run = await authored.start(document(*steps))
        await run.until("WAITING")
        for n in (1, 2):
            await publish(db, f"e{n}", "k1", payload={"n": n})
        await failed(run)
        once = await redriven(authored, run, "root.steps[1].body[1].steps[0]")
        await failed(once)
        twice = await redriven(authored, once, "root.steps[1].body[1].steps[1]")
        await twice.until("WAITING")
        await publish(db, "e3", "k1", payload={"n": 3})
        result = await twice.handle.result()
    assert result["scopes"]["vars"]["took"] == [1, 2, 3]


async def test_a_child_that_was_refused_under_on_error_continue_is_passed(db: Database, client: Client) -> None:
    child = {"id": "child", "type": "control.callWorkflow", "workflowId": "nowhere", "workflowVersion": 1}
    steps = ({**child, "onError": {"policy": "continue"}}, act("last", given="error.code"))
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["last"] = ["ActionError"]
        run = await authored.start(document(*steps), {})
        await failed(run)
        assert (await plan_redrive(db, TENANT, run.run_id, "last")).kept == ("root.steps[0]",)
        await (await redriven(authored, run, "last")).handle.result()
    assert [call["given"] for _, call in authored.effects.calls] == ["WORKFLOW_UNKNOWN"] * 2


async def test_what_was_open_beside_the_step_begins_anew(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored, ingress(db, client):
        authored.effects.failures["bad"] = ["ActionError"]
        gate = authored.effects.gates["work"] = asyncio.Event()
        workflow_id, _, _ = await authored.publish(document(act("work")))
        child = {"id": "child", "type": "control.callWorkflow", "workflowId": workflow_id, "workflowVersion": 1}
        go = {"id": "go", **wait("GO", "payload.id")}
        never = {"id": "never", **wait("NEVER", "'k'", timeoutMs=600_000)}
        run = await authored.start(document(parallel([child], [go, act("bad")], [never], wait="any")), {"id": "k1"})
        await begun(run, "root.steps[0].branches[0].steps[0]", "STARTED")
        await run.until("WAITING")
        await publish(db, "e1", "k1", event_name="GO")
        while not authored.effects.count("bad"):
            await asyncio.sleep(0.02)
        await run.handle.cancel()
        await failed(run)
        planned = await plan_redrive(db, TENANT, run.run_id, "bad")
        beside = ["root.steps[0].branches[0].steps[0]", "root.steps[0].branches[2].steps[0]"]
        assert set(planned.repeated) == {"root.steps[0].branches[1].steps[1]", *beside}
        gate.set()
        authored.effects.failures["bad"] = ["ActionError"]
        new = await redriven(authored, run, "bad")
        await new.handle.result()
        outputs = {step.step_path: step.output_json for step in (await new.timeline()).steps}
    assert outputs["root.steps[0]"] == {"branch": 0}


async def test_a_newer_version_with_other_steps_in_front_is_refused(db: Database, client: Client) -> None:
    steps = [act("reserve"), act("charge"), wait("PAID", "payload.id", timeoutMs=50), act("ship")]
    steps[2] |= {"id": "paid", "onError": {"policy": "continue"}}
    other = {**act("charge", action="test.once")}
    fired = {**steps[2], "config": {**steps[2]["config"], "eventName": "REFUNDED"}}
    chosen = {"id": "chosen", "type": "control.if", "condition": {"$expr": "true"}, "then": [assign("more", n="1")]}
    empty = {**chosen, "then": []}
    later = act("charge")
    later["config"]["version"] = 2
    async with authored_runtime(db, client) as authored:
        authored.effects.failures["ship"] = ["ActionError"]
        run = await authored.start(document(*steps[:3], empty, steps[3]), {"id": "k1"})
        await failed(run)
        workflow_id = (await run.timeline()).run.workflow_id
        for number, (changed, path, there, was) in enumerate(
            [
                ([steps[0], act("check"), *steps[1:3], empty], 1, "'check' (action.call test.act)", "'charge'"),
                ([steps[0], other, steps[2], empty], 1, "'charge' (action.call test.once)", "(action.call test.act)"),
                ([*steps[:2], fired, empty], 2, "'paid' (event.wait REFUNDED)", "(event.wait PAID)"),
                ([*steps[:3], chosen], "3].then.steps[0", "'more' (transform.assign)", "no step"),
            ],
            start=2,
        ):
            async with db.tenant(TENANT) as conn:
                await publish_version(conn, workflow_id, document(*changed, steps[3]))
            with pytest.raises(Refused) as refused:
                await plan_redrive(db, TENANT, run.run_id, "ship", number)
            (problem,) = refused.value.problems
            assert (problem.code, problem.path) == ("REDRIVE_STEP_CHANGED", f"root.steps[{path}]")
            assert there in problem.message
            assert was in problem.message
        async with db.tenant(TENANT) as conn:
            await publish_version(conn, workflow_id, document(steps[0], later, steps[2], empty, steps[3]))
        kept = (await plan_redrive(db, TENANT, run.run_id, "ship", 6)).kept
    assert kept == tuple(f"root.steps[{number}]" for number in range(4))


async def test_a_step_that_only_the_mended_version_comes_to_is_said_to_be_behind_the_end_of_the_run(
    db: Database, client: Client
) -> None:
    """It was refused as one that had changed, although both versions have it, and a name that nobody has likewise."""
    wrong, mended = assign("total", total="payload.missing"), assign("total", total="1")
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(act("reserve"), wrong, act("charge"), act("ship")), {"id": "k1"})
        await failed(run)
    workflow_id = (await run.timeline()).run.workflow_id
    async with db.tenant(TENANT) as conn:
        await publish_version(conn, workflow_id, document(act("reserve"), mended, act("charge"), act("ship")))
    for wanted, said in (
        ("ship", "the run ended before root.steps[2], which is step 'charge' (action.call test.act) in version 2"),
        ("shop", "version 2 has no step with the id 'shop', and a path begins with `root.` (did you mean 'ship'?)"),
        ("steps[1]", "no step with the id 'steps[1]'"),
    ):
        with pytest.raises(Refused) as refused:
            await plan_redrive(db, TENANT, run.run_id, wanted, 2)
        assert refused.value.code == "REDRIVE_STEP_NOT_REACHED"
        assert said in str(refused.value)
    for wanted in ("charge", "total"):
        assert (await plan_redrive(db, TENANT, run.run_id, wanted, 2)).step_path.startswith("root.steps[")


async def test_draws_of_a_later_execution_are_refused_and_those_of_the_first_are_kept(
    db: Database, client: Client
) -> None:
    counts = {
        "id": "counts",
        "type": "control.forEach",
        "items": {"$expr": "[1..8]"},
        "itemVar": "n",
        "body": [act("one")],
    }
    steps = (assign("token", token="$random()"), counts, act("first", given="token"), assign("late", late="$random()"))
    async with authored_runtime(db, client, policy=RunPolicy(continue_after_steps=6)) as authored:
        authored.effects.failures |= {"first": ["ActionError"], "last": ["ActionError"]}
        run = await authored.start(document(*steps, act("last")), {})
        await failed(run)
        assert (await run.timeline()).run.generation > 0
        new = await redriven(authored, run, "first")
        await failed(new)
        again = await authored.start(document(*steps, act("last")), {})
        authored.effects.failures["last"] = ["ActionError"]
        await failed(again)
        with pytest.raises(Refused, match=r"REDRIVE_STEP_NOT_REACHED.*root\.steps\[3\] draws at random"):
            await plan_redrive(db, TENANT, again.run_id, "last")
    first = [call["given"] for name, call in authored.effects.calls if name == "first"]
    assert first[0] == first[1] != first[2]
