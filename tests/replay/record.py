"""Records the histories that every later build must replay: `uv run python -m replay.record` in tests/.

Run it when a scenario is added. A recorded history is never replaced: that would hide a change that
runs in flight cannot take; give the scenario a new name instead.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle, WorkflowHistory

from harness.authored import TENANT, Authored, Started, authored_runtime
from harness.databases import DatabaseFactory, engine_of
from harness.ingress import ingress
from harness.interpreted import document, wait
from harness.run_records import publish, rows
from harness.scheduled import told_while_it_looks
from workflows_cli.embedded import EmbeddedPostgres, EmbeddedTemporal
from workflows_core.execution.policy import RunPolicy
from workflows_core.schedules.managing import ScheduleRequest, create_schedule
from workflows_core.storage.database import Database
from workflows_core.wire import names

HISTORIES = Path(__file__).parents[2] / "contracts" / "histories"
Scenario = Callable[[Authored], Awaitable[Started]]


def act(name: str, action: str = "test.act", **fields: Any) -> dict[str, Any]:
    """An `action.call` of the test pack."""
    config = {"actionId": action, "version": 1, "inputMapping": {"name": name}, "saveAs": name}
    return {"type": "action.call", "config": config, **fields}


async def actions_and_retry(authored: Authored) -> Started:
    """Regular actions, one retried, one that fails and is passed over."""
    authored.effects.failures["two"] = ["TransientError"]
    authored.effects.failures["three"] = ["ActionError"]
    return await authored.start(
        document(
            {"type": "transform.assign", "config": {"assign": {"vars.n": {"$expr": "payload.n * 2"}}}},
            act("one"),
            act("two", retry={"maxAttempts": 2, "backoffMs": 1}),
            act("three", onError={"policy": "continue"}),
            {"type": "control.if", "condition": {"$expr": "vars.n = 8"}, "then": [{"id": "t", **act("four")}]},
        ),
        {"n": 4},
    )


async def short_actions(authored: Authored) -> Started:
    """More short actions than one workflow task takes."""
    return await authored.start(document(*(act(f"s{n}", "test.short") for n in range(25))))


async def short_actions_ahead(authored: Authored) -> Started:
    """Short actions that one local activity calls, with control steps between them and two that fail."""
    sizes = {"type": "transform.assign", "config": {"assign": {"vars.n": expr("$length(one.text) + 1")}}}
    sized = act("two", "test.short")
    sized["config"]["inputMapping"]["size"] = expr("vars.n")
    failing = act("three", "test.fail")
    failing["config"]["inputMapping"]["category"] = "TransientError"
    again = {"maxAttempts": 2, "backoffMs": 1}
    return await authored.start(
        document(
            act("one", "test.short"),
            sizes,
            sized,
            {**failing, "retry": again, "onError": {"policy": "continue"}},
            *(act(f"s{n}", "test.short") for n in range(12)),
        )
    )


async def last_action_ends(authored: Authored) -> Started:
    """An action inside of a branch whose success is the end, behind one that fails and is tried again."""
    authored.effects.failures["one"] = ["TransientError"]
    assign = {"id": "v", "type": "transform.assign", "config": {"assign": {"vars.n": expr("two.calls + $millis()")}}}
    then = [{"id": "t", **act("two")}, assign]
    steps = [
        act("one", retry={"maxAttempts": 2, "backoffMs": 1}),
        {"type": "control.if", "condition": expr("one.calls = 2"), "then": then},
        {"type": "control.return", "value": expr("vars.n")},
    ]
    return await authored.start(document(*steps))


async def last_action_fails_behind(authored: Authored) -> Started:
    """A failure of the step behind the last action, caught once and not the second time."""
    wrong = {"type": "transform.assign", "config": {"assign": {"vars.n": expr("one.name + 1")}}}
    caught = {"type": "transform.assign", "config": {"assign": {"vars.caught": expr("error.category")}}}
    tried = {"type": "control.tryCatch", "try": [{"id": "w", **wrong}], "catch": [{"id": "c", **caught}]}
    return await authored.start(document(act("one"), tried, wrong))


async def last_action_revoked(authored: Authored) -> Started:
    """A cancel while the action runs that would have ended the run."""
    authored.effects.gates["one"] = asyncio.Event()
    started = await authored.start(document(act("one")))
    while not authored.effects.count("one"):
        await asyncio.sleep(0.01)
    await started.handle.cancel()
    return started


async def waits(authored: Authored) -> Started:
    """An event that came early, one that resolves a wait, a time-out, a short timer."""
    started = await authored.start(
        document(
            act("one"),
            wait("EARLY", "payload.id"),
            wait("PAID", "payload.id", timeoutMs=60_000),
            {**wait("NEVER", "payload.id", timeoutMs=1_200), "onError": {"policy": "continue"}},
            {"type": "time.wait", "config": {"mode": "duration", "durationMs": 50}},
            act("two"),
        ),
        {"id": "k1"},
    )
    for name in ("EARLY", "PAID"):
        body = {"eventId": name, "eventName": name, "correlationKey": "k1", "payload": {"n": 1}}
        await started.handle.signal(names.SIGNAL_EVENT, body)
    return started


async def cancelled(authored: Authored) -> Started:
    """A run that waits and is cancelled."""
    started = await authored.start(document(act("one"), wait("PAID", "payload.id")), {"id": "k1"})
    await started.until("WAITING")
    await started.handle.cancel()
    return started


async def bare_client(authored: Authored) -> Started:
    """A run without a row."""
    return await authored.start(document(act("one"), {"type": "control.return"}), row=False)


async def short_forms(authored: Authored) -> Started:
    """A long definition, calls with nothing unusual, and an end with the last of them."""
    return await authored.start(document(*(act(f"s{number}") for number in range(8))))


async def short_forms_bare(authored: Authored) -> Started:
    """The same for a run without a row, which looks back to its start."""
    steps = [act(f"s{number}") for number in range(7)]
    return await authored.start(document(*steps, wait("PAID", "'k1'", timeoutMs=100)), row=False)


def expr(source: str) -> dict[str, str]:
    """An expression."""
    return {"$expr": source}


def count(step_id: str) -> dict[str, Any]:
    """Adds one to `vars.n`."""
    return {
        "id": step_id,
        "type": "transform.assign",
        "config": {"assign": {"vars.n": expr("coalesce(vars.n, 0) + 1")}},
    }


async def loops(authored: Authored) -> Started:
    """forEach one by one and side by side, an item that fails and is passed over; while across continue-as-new."""
    authored.effects.failures["b"] = ["ActionError"]
    call = act("call")
    call["config"]["inputMapping"] = {"name": expr("x")}
    side_by_side = {
        "type": "control.forEach",
        "items": expr("['a', 'b', 'c', 'd']"),
        "itemVar": "x",
        "concurrency": 2,
        "body": [{"id": "c1", **call}],
        "onItemError": "continue",
        "collect": expr("call.name"),
        "saveAs": "all",
        "errorsAs": "bad",
    }
    one_by_one = {
        "type": "control.forEach",
        "items": expr("[1, 2]"),
        "itemVar": "y",
        "body": [{"id": "c2", **act("one")}],
    }
    again = {"type": "control.while", "condition": expr("coalesce(vars.n, 0) < 300"), "maxIterations": 400}
    return await authored.start(document(side_by_side, one_by_one, {**again, "body": [count("n")]}, act("last")))


async def branches(authored: Authored) -> Started:
    """if, switch, tryCatch, parallel with all and with any, return with a value."""
    authored.effects.failures["broken"] = ["TransientError"]
    cases = [{"equals": 1, "steps": [{"id": "one", **act("one")}]}, {"equals": 2, "steps": []}]
    both = [{"steps": [{"id": "l", **act("left")}]}, {"steps": [{"id": "r", **act("right")}]}]
    first = [{"steps": [{"id": "w", **wait("NEVER", "payload.id")}]}, {"steps": [{"id": "q", **act("quick")}]}]
    attempt = {"try": [{"id": "b", **act("broken")}], "catch": [{"id": "h", **act("handled")}]}
    return await authored.start(
        document(
            {"type": "control.switch", "value": expr("payload.n"), "cases": cases},
            {"type": "control.tryCatch", **attempt, "captureErrorAs": "problem"},
            {"type": "control.parallel", "branches": both},
            {"type": "control.parallel", "branches": first, "wait": "any"},
            {"type": "control.return", "value": expr("problem.category")},
            act("never"),
        ),
        {"id": "k1", "n": 1},
    )


async def wait_beside_action(authored: Authored) -> Started:
    """A wait that opens together with an action beside it: a write tells of it before the action is called."""
    both = [{"steps": [{"id": "w", **wait("NEVER", "payload.id")}]}, {"steps": [{"id": "q", **act("quick")}]}]
    return await authored.start(
        document({"type": "control.parallel", "branches": both, "wait": "any"}, act("last")), {"id": "k1"}
    )


async def compensated(authored: Authored) -> Started:
    """A run that fails and undoes what it did."""
    authored.effects.failures["bad"] = ["ActionError"]
    steps = [{**act(name), "onCompensate": [{"id": f"u{name}", **act(f"un{name}")}]} for name in ("a", "b")]
    return await authored.start({**document(*steps, act("bad")), "compensateOn": ["failure"]})


async def child_run(authored: Authored) -> Started:
    """Calls another workflow, which answers by its end; then one that is not there."""
    child, _, _ = await authored.publish(document(act("work"), {"type": "control.return", "value": expr("1 + 1")}))
    call = {"type": "control.callWorkflow", "workflowId": child, "workflowVersion": 1}
    missing = {**call, "workflowId": "nowhere", "onError": {"policy": "continue"}}
    return await authored.start(document({**call, "outputMapping": {"n": expr("childRun.result")}}, missing))


async def human_task(authored: Authored) -> Started:
    """A task that is answered wrongly, then rightly; an e-mail that is read."""
    schema = {"type": "object", "required": ["ok"]}
    config = {"taskType": "t", "title": expr("'T'"), "responseSchema": schema}
    mail = {"type": "email.parseBody", "config": {"text": expr("'Hello'"), "saveAs": "vars.mail"}}
    started = await authored.start(document({"type": "human.task", "config": config}, mail), {"id": "k1"})
    await started.until("WAITING")
    for answer in ({}, {"ok": True}):
        task_id = f"{started.run_id}:root.steps[0]:1"
        await started.handle.signal(names.SIGNAL_HUMAN_TASK, {"taskId": task_id, "payload": answer})
    return started


async def states_and_blocks(authored: Authored) -> Started:
    """A named state, an e-mail as blocks, and a wait that times out, is tried again and then passed over."""
    again = {"retry": {"maxAttempts": 2, "backoffMs": 1}, "onError": {"policy": "continue"}}
    blocks = {
        "type": "email.renderCommentBlocks",
        "config": {"html": expr("'<h1>Hello</h1>'"), "saveAs": "vars.blocks"},
    }
    return await authored.start(
        document(
            {"type": "state.set", "config": {"state": "READING"}},
            blocks,
            {**wait("NEVER", "payload.id", timeoutMs=1), **again},
            act("one"),
        ),
        {"id": "k1"},
    )


async def quota_pause(authored: Authored) -> Started:
    """A tenant without steps: two branches pause, and go on when they are told to."""
    quota = authored.runtime.activities.quota
    assert isinstance(quota, StepsLeft)
    both = [{"steps": [{"id": name, **act(name)}]} for name in ("left", "right")]
    started = await authored.start(document(act("one"), {"type": "control.parallel", "branches": both}))
    await started.until("WAITING")
    quota.left = 10
    await started.handle.signal(names.SIGNAL_QUOTA_RESUME, {})
    return started


@dataclass
class StepsLeft:
    """So many steps of all runs."""

    left: int

    async def reserve(self, tenant_id: str, run_id: str, steps: int) -> Mapping[str, Any] | None:
        """Takes them, or says that there are not so many."""
        if steps > self.left:
            return {"usedCount": 9, "effectiveLimit": 9}
        self.left -= steps
        return None


async def _launched(authored: Authored) -> tuple[str, WorkflowHandle[Any, Any]]:
    """A firing of a schedule, and the id of the run that it launched and that waits for an event."""
    workflow_id, _, _ = await authored.publish(document(act("one"), wait("PAID", "payload.id")))
    async with authored.db.tenant(TENANT) as conn:
        request = ScheduleRequest("recorded", cron="0 * * * *", payload={"id": "k1"})
        row = await create_schedule(conn, workflow_id, request)
    body = {"tenantId": TENANT, "scheduleId": row.id}
    handle = await authored.client.start_workflow(
        names.SCHEDULED_LAUNCH_WORKFLOW, body, id="scheduled-launch", task_queue=names.AUTHORED_QUEUE
    )
    # An earlier scenario may have left its own, which is closed.
    while not (waiting := [w for w in await rows(authored.db, "workflow_run_waits") if w["status"] == "WAITING"]):
        await asyncio.sleep(0.02)
    return waiting[0]["run_id"], handle


async def scheduled_launch(authored: Authored) -> Started:
    """A firing of a schedule, which stays open until the run that it launched has ended."""
    run_id, handle = await _launched(authored)
    await publish(authored.db, f"paid-{run_id}", "k1")
    return Started(authored, run_id, handle)


async def scheduled_launch_told(authored: Authored) -> Started:
    """One that is told of the end while it looks whether the run has ended."""
    run_id, handle = await _launched(authored)
    await told_while_it_looks(authored.db, handle)
    await publish(authored.db, f"paid-{run_id}", "k1")
    return Started(authored, run_id, handle)


async def scheduled_launch_cancelled(authored: Authored) -> Started:
    """One that is cancelled, as by the next firing, and cancels its run."""
    run_id, handle = await _launched(authored)
    await handle.cancel()
    return Started(authored, run_id, handle)


SCENARIOS: Mapping[str, Scenario] = {
    "actions_and_retry": actions_and_retry,
    "bare_client": bare_client,
    "branches": branches,
    "cancelled": cancelled,
    "child_run": child_run,
    "compensated": compensated,
    "human_task": human_task,
    "loops": loops,
    "quota_pause": quota_pause,
    "scheduled_launch": scheduled_launch,
    "scheduled_launch_cancelled": scheduled_launch_cancelled,
    "scheduled_launch_told": scheduled_launch_told,
    "short_actions": short_actions,
    "short_actions_ahead": short_actions_ahead,
    "last_action_ends": last_action_ends,
    "last_action_fails_behind": last_action_fails_behind,
    "last_action_revoked": last_action_revoked,
    "short_forms": short_forms,
    "short_forms_bare": short_forms_bare,
    "states_and_blocks": states_and_blocks,
    "wait_beside_action": wait_beside_action,
    "waits": waits,
}


async def record(db: Database, client: Client, name: str) -> WorkflowHistory:
    """Runs a scenario to its end and gives its history."""
    quota = StepsLeft(1) if name == "quota_pause" else None
    async with authored_runtime(db, client, policy=RunPolicy(), quota=quota) as authored, ingress(db, client):
        started = await SCENARIOS[name](authored)
        await asyncio.gather(started.handle.result(), return_exceptions=True)
        return await started.handle.fetch_history()


def without_machine(history: WorkflowHistory) -> str:
    """The history as JSON, without names and paths of the machine that made it."""
    text = json.dumps(json.loads(history.to_json()), indent=1)
    text = re.sub(r'"\d+@[^"]+"', '"worker@recorded"', text)
    return re.sub(r'"stackTrace": "(?:[^"\\]|\\.)*"', '"stackTrace": ""', text) + "\n"


async def _main() -> None:
    with EmbeddedPostgres() as postgres, EmbeddedTemporal() as temporal, DatabaseFactory(postgres).fresh() as made:
        client = await Client.connect(temporal.address, namespace=temporal.namespace)
        async with engine_of(made.url) as engine:
            for name in SCENARIOS:
                target = HISTORIES / f"{name}.json"
                if not target.exists():
                    target.write_text(without_machine(await record(Database(engine), client, name)))
                    print(f"recorded {target}")  # noqa: T201 - a command that people run


if __name__ == "__main__":
    asyncio.run(_main())
