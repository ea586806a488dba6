"""Short actions that follow one another: one local activity calls them, and nothing else is different for that."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError, WorkflowHistory

from harness.authored import LIMITS, TENANT, Started, authored_runtime
from harness.interpreted import document, wait
from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.errors import ActionFailed
from workflows_core.execution.policy import RunPolicy
from workflows_core.execution.worker import authored_replayer
from workflows_core.storage.database import Database

pytestmark = pytest.mark.asyncio(loop_scope="session")


def short(name: str, action: str = "test.short", /, *, given: Any = None, **fields: Any) -> dict[str, Any]:
    config = {"actionId": action, "version": 1, "inputMapping": {"name": name, **(given or {})}, "saveAs": name}
    return {"type": "action.call", "config": config, **fields}


def assign(name: str, source: str) -> dict[str, Any]:
    return {"type": "transform.assign", "config": {"assign": {f"vars.{name}": {"$expr": source}}}}


def mixed() -> dict[str, Any]:
    """A row of eight calls with control steps between them; one fails twice, another's failure is passed over."""
    fails = {"category": "TransientError"}
    inner = [{"id": "i", **short("inside", given={"size": {"$expr": "$length(first.text) + 1"}})}]
    last = short("last", given={"size": {"$expr": "$length(inside.text)"}, "at": {"$expr": "$millis()"}})
    return document(
        short("first", given={"size": 3}),
        assign("n", "$length(first.text)"),
        {"type": "control.if", "condition": {"$expr": "vars.n = 3"}, "then": inner},
        short("second", given={"chance": {"$expr": "$random()"}}),
        short(
            "third", "test.fail", given=fails, retry={"maxAttempts": 2, "backoffMs": 1}, onError={"policy": "continue"}
        ),
        short("fourth", "test.echo"),
        short("fifth", "test.fail", given=fails, onError={"policy": "continue"}),
        last,
    )


async def local_activities(run: Started) -> int:
    """Of the run, without the one that loads it."""
    history = await run.handle.fetch_history()
    return sum(e.event_type == EventType.EVENT_TYPE_MARKER_RECORDED for e in history.events) - 1


async def recorded(run: Started) -> Any:
    """What the run's rows say, without times."""
    timeline = await run.timeline()
    steps = [(s.step_path, s.status, s.attempt, s.error_json and s.error_json["category"]) for s in timeline.steps]
    outputs = [s.output_json for s in timeline.steps]
    calls = sorted(
        (i.step_path, i.status, i.attempt, i.output_json and i.output_json.get("text")) for i in timeline.invocations
    )
    return timeline.run.status, steps, outputs, calls


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("cached", [100, 0], ids=["kept between tasks", "replayed for each task"])
async def test_calls_in_a_row_are_one_local_activity(db: Database, client: Client, cached: int) -> None:
    limits = replace(LIMITS, cached_runs=cached)
    async with authored_runtime(db, client, limits=limits) as authored:
        run = await authored.start(document(*(short(f"s{n}", given={"size": n + 1}) for n in range(25))))
        result = await run.handle.result()
        # Ten of them are what a workflow task takes.
        assert await local_activities(run) == 3
    assert [name for name, _ in authored.effects.calls] == [f"s{n}" for n in range(25)]
    assert [len(result["scopes"]["vars"][f"s{n}"]["text"]) for n in range(25)] == list(range(1, 26))


@pytest.mark.usefixtures("unhurried")
async def test_calls_ahead_record_what_calls_one_by_one_record(db: Database, client: Client) -> None:
    found = []
    for ahead in (True, False):
        async with authored_runtime(db, client, policy=RunPolicy(call_ahead=ahead)) as authored:
            run = await authored.start(mixed())
            await run.handle.result()
            found.append((await recorded(run), [name for name, _ in authored.effects.calls]))
            count = await local_activities(run)
        # A failure ends a row, and what it leads to begins another one.
        assert count == (4 if ahead else 8)
    assert found[0] == found[1]
    assert found[0][0][0] == "SUCCEEDED"
    assert ("root.steps[4]", "FAILED", 2, "TransientError") in found[0][0][1]


@pytest.mark.usefixtures("unhurried")
async def test_times_of_calls_ahead_are_their_own(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(*(short(f"s{n}", given={"ms": 30}) for n in range(3))))
        await run.handle.result()
        assert await local_activities(run) == 1
        steps = (await run.timeline()).steps
    ends = [step.completed_at.timestamp() for step in steps if step.completed_at is not None]
    assert [round(1000 * (later - earlier)) >= 30 for earlier, later in pairwise(ends)] == [True, True]
    assert [step.started_at.timestamp() for step in steps[1:]] == ends[:-1]


@pytest.mark.usefixtures("unhurried")
async def test_a_run_that_carries_much_calls_one_by_one(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(*(short(f"s{n}") for n in range(3))), {"text": "x" * 40_000})
        await run.handle.result()
        assert await local_activities(run) == 3


@pytest.mark.usefixtures("unhurried")
async def test_what_was_overwritten_is_not_carried(db: Database, client: Client) -> None:
    large = short("out", given={"size": 40_000})
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(large, *(short("out") for _ in range(29))))
        await run.handle.result()
        assert authored.effects.count("out") == 30
        assert await local_activities(run) == 3


def held_back(why: str) -> list[dict[str, Any]]:
    """`one`, and `two`, before which there is enough to write, or what expressions may cost is spent."""
    if why == "much to write":
        # A copy of the run does not have what there was before `one`.
        thirty = [assign(f"n{n}", "1") for n in range(30)]
        return [*thirty, short("one"), *thirty, short("two")]
    dear = " + ".join(["$length($replace('a', /a+/, 'b'))"] * 4)
    return [short("one"), *(assign(f"n{n}", dear) for n in range(3)), short("two", given={"size": {"$expr": dear}})]


@pytest.mark.parametrize("why", ["much to write", "dear expressions"])
async def test_an_answer_of_before_a_write_is_not_taken_after_it(db: Database, client: Client, why: str) -> None:
    """What begins with it, such as a time-out, would have begun before the write, which may take minutes."""
    never = {**wait("NEVER", "payload.id", timeoutMs=1_200), "onError": {"policy": "continue"}}
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(*held_back(why), never), {"id": "k"})
        await run.handle.result()
        (opened,) = (await run.timeline()).waits
        history = await run.handle.fetch_history()
    assert authored.effects.count("two") == 2, "it was called ahead"
    written = [e for e in history.events if e.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED]
    assert opened.created_at.timestamp() * 1000 >= written[0].event_time.ToMilliseconds()


async def test_a_fault_ahead_is_not_that_of_the_call_before_it(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise LookupError("nobody thought of this")

    monkeypatch.setattr("workflows_core.execution.short_actions.step", broken)
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(short("one"), short("two")))
        await run.handle.result()
        assert await local_activities(run) == 2
    assert "could not be called ahead" in caplog.text


async def test_what_was_found_ahead_is_left_when_a_cancel_comes(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(*held_back("much to write"), short("three")))
        async with db.tenant(TENANT) as conn:
            # The write that comes before `two` waits for this, and the cancel is there before it ends.
            await conn.execute(text("SELECT 1 FROM workflow_runs WHERE run_id = :id FOR UPDATE"), {"id": run.run_id})
            while not authored.effects.count("two"):
                await asyncio.sleep(0.01)
            await run.handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await run.handle.result()
        status, steps, _, _ = await recorded(run)
    assert status == "CANCELED"
    assert ("root.steps[61]", "CANCELED", 1, None) in steps
    assert authored.effects.count("two") == 1


async def test_a_failure_that_cannot_be_told_is_not_that_of_the_call_before_it(db: Database, client: Client) -> None:
    async def fail(*_: Any) -> Any:
        raise ActionFailed("no", details={"at": datetime.now(UTC)})

    def pack() -> Sequence[Action]:
        anything = {"type": "object"}
        return [
            Action("bad.fail", 1, fail, anything, anything, "Fails.", effect=Effect.PURE, timeout_ms=500, short=True)
        ]

    async with authored_runtime(db, client, more={"bad": pack}) as authored:
        run = await authored.start(document(short("one"), short("two", "bad.fail", onError={"policy": "continue"})))
        await run.handle.result()
        _, steps, _, _ = await recorded(run)
    assert [step[1] for step in steps] == ["SUCCEEDED", "FAILED"]


async def test_a_run_that_continues_as_new_among_calls_ahead_makes_the_rest_again(db: Database, client: Client) -> None:
    async with authored_runtime(db, client, policy=RunPolicy(continue_after_steps=4)) as authored:
        run = await authored.start(document(*(short(f"s{n}", given={"size": n + 1}) for n in range(9))))
        result = await run.handle.result()
        timeline = await run.timeline()
    assert timeline.run.generation >= 1
    assert [len(result["scopes"]["vars"][f"s{n}"]["text"]) for n in range(9)] == list(range(1, 10))
    assert [(i.status, i.attempt) for i in timeline.invocations] == [("SUCCEEDED", 1)] * 9


async def test_calls_side_by_side_are_made_once_each(db: Database, client: Client) -> None:
    body = [{"id": "call", **short("item", given={"name": {"$expr": "x"}})}]
    loop = {
        "type": "control.forEach",
        "itemVar": "x",
        "items": {"$expr": "['a', 'b', 'c', 'd', 'e']"},
        "concurrency": 2,
        "body": body,
    }
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(loop))
        await run.handle.result()
    assert sorted(name for name, _ in authored.effects.calls) == ["a", "b", "c", "d", "e"]


# What the SDK says when a local activity ends and is timed out at once; warnings are errors here.
@pytest.mark.filterwarnings("ignore:Cannot find activity to cancel:UserWarning")
async def test_a_call_that_stands_still_is_made_as_a_regular_one(db: Database, client: Client) -> None:
    """On a machine that stood still for half a second the run failed, by a call that had done nothing wrong."""

    async def block(value: Any, _: ActionContext) -> Any:
        await asyncio.sleep(0.01)
        time.sleep(value["seconds"])  # noqa: ASYNC251  What an author must not do: nothing can interrupt it.
        return {}

    def pack() -> Sequence[Action]:
        anything = {"type": "object"}
        return [
            Action("bad.block", 1, block, anything, anything, "Blocks.", effect=Effect.PURE, timeout_ms=100, short=True)
        ]

    async with authored_runtime(db, client, more={"bad": pack}) as authored:
        blocked = short("blocked", "bad.block", given={"seconds": 1.7})
        run = await authored.start(document(short("before"), blocked, short("behind")))
        await run.handle.result()
        _, steps, _, _ = await recorded(run)
        history = await run.handle.fetch_history()
    assert steps == [(f"root.steps[{number}]", "SUCCEEDED", 1, None) for number in range(3)]
    scheduled = [event.activity_task_scheduled_event_attributes.activity_type.name for event in history.events]
    assert scheduled.count("workflowRuntimeV2RunAction") == 1


async def test_a_call_that_overruns_fails_its_own_step_and_not_the_one_before(db: Database, client: Client) -> None:
    async def overrun(value: Any, _: ActionContext) -> Any:
        await asyncio.sleep(value["seconds"])

    def pack() -> Sequence[Action]:
        anything = {"type": "object"}
        return [
            Action("bad.long", 1, overrun, anything, anything, "Long.", effect=Effect.PURE, timeout_ms=100, short=True)
        ]

    async with authored_runtime(db, client, more={"bad": pack}) as authored:
        late = short("late", "bad.long", given={"seconds": 30}, onError={"policy": "continue"})
        run = await authored.start(document(short("before"), late, short("behind")))
        await run.handle.result()
        _, steps, _, _ = await recorded(run)
    assert steps == [
        ("root.steps[0]", "SUCCEEDED", 1, None),
        ("root.steps[1]", "FAILED", 1, "TimeoutError"),
        ("root.steps[2]", "SUCCEEDED", 1, None),
    ]


async def test_an_answer_to_another_call_is_not_taken(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(short("one"), short("two")))
        await run.handle.result()
        history = json.loads((await run.handle.fetch_history()).to_json())
    markers = [e["markerRecordedEventAttributes"] for e in history["events"] if "markerRecordedEventAttributes" in e]
    assert await _replays(history)
    answers = markers[-1]["details"]["result"]["payloads"][0]
    offered = json.loads(base64.b64decode(answers["data"]))
    offered["ahead"][0]["call"] = "of another call"
    answers["data"] = base64.b64encode(json.dumps(offered).encode()).decode()
    # The run asks for the call itself, which this history does not have.
    assert not await _replays(history)


async def _replays(history: Any) -> bool:
    recorded = WorkflowHistory.from_json("doctored", json.dumps(history))
    return (await authored_replayer().replay_workflow(recorded, raise_on_replay_failure=False)).replay_failure is None
