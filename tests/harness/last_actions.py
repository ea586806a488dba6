"""Runs whose last action writes their end, and what may come between the two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowHistory

from harness.authored import Authored, Started
from harness.interpreted import document
from harness.run_records import rows
from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.execution.worker import authored_replayer
from workflows_core.storage import last_actions
from workflows_core.storage.database import Database


def expr(source: str) -> dict[str, str]:
    return {"$expr": source}


def act(name: str, action: str = "test.act", **fields: Any) -> dict[str, Any]:
    config = {"actionId": action, "version": 1, "inputMapping": {"name": name}, "saveAs": name}
    return {"id": name, "type": "action.call", "config": config, **fields}


def assign(name: str, source: str) -> dict[str, Any]:
    return {"id": name, "type": "transform.assign", "config": {"assign": {f"vars.{name}": expr(source)}}}


def counting() -> Sequence[Action]:
    """`count.runs@1`, transactional: how often the run has called it."""

    async def count(_: Any, context: ActionContext) -> Any:
        assert context.store is not None
        return {"calls": (await context.store.increment("calls", context.run_id, 1)).value}

    anything = {"type": "object"}
    return [Action("count.runs", 1, count, anything, anything, "Counts.", effect=Effect.TRANSACTIONAL)]


async def scheduled(run: Started) -> list[str]:
    """Types of the regular activities that the run has asked for, in order."""
    found = [e.activity_task_scheduled_event_attributes for e in (await run.handle.fetch_history()).events]
    return [one.activity_type.name.removeprefix("workflowRuntimeV2") for one in found if one.activity_type.name]


async def activities(run: Started) -> list[str]:
    """The same of a run that has ended; its history replays."""
    history = await run.handle.fetch_history()
    replayed = await authored_replayer().replay_workflow(
        WorkflowHistory.from_json(run.handle.id, history.to_json()), raise_on_replay_failure=False
    )
    assert replayed.replay_failure is None
    return await scheduled(run)


async def cancel_heard(handle: WorkflowHandle[Any, Any]) -> None:
    """Waits until the run has had a workflow task with its cancel."""
    asked, done = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    while True:
        types = [event.event_type for event in (await handle.fetch_history()).events]
        if asked in types and done in types[types.index(asked) :]:
            return
        await asyncio.sleep(0.05)


async def ended(run: Started) -> Any:
    """How the run ended for Temporal: its result, or the category of its failure."""
    try:
        return await run.handle.result()
    except WorkflowFailureError as error:
        return getattr(error.cause, "type", type(error.cause).__name__)


async def act_alone(authored: Authored) -> list[str]:
    """A run of one action that succeeds; its activities."""
    run = await authored.start(document(act("one")))
    await run.handle.result()
    assert (await run.timeline()).run.status == "SUCCEEDED"
    return await activities(run)


async def under_way(authored: Authored, definition: dict[str, Any]) -> tuple[Started, asyncio.Event]:
    """A run whose action `one` has begun, and what lets that end."""
    gate = authored.effects.gates["one"] = asyncio.Event()
    run = await authored.start(definition)
    while not authored.effects.count("one"):
        await asyncio.sleep(0.01)
    return run, gate


@asynccontextmanager
async def held_behind_the_end(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[asyncio.Event, asyncio.Event]]:
    """The activity has written the end, and does not say so before it may; sets the first, waits for the second."""
    written, may_answer = asyncio.Event(), asyncio.Event()
    complete = last_actions.complete_last

    async def slowly(*args: Any) -> bool:
        answer = await complete(*args)
        if answer and not written.is_set():
            if isinstance(args[0], AsyncConnection):
                await args[0].commit()
            written.set()
            await may_answer.wait()
        return answer

    monkeypatch.setattr(last_actions, "complete_last", slowly)
    try:
        yield written, may_answer
    finally:
        may_answer.set()


def losing(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The first end is written, and the activity dies of it; what was answered to it."""
    complete = last_actions.complete_last
    lost: list[bool] = []

    async def once(*args: Any) -> bool:
        answer = await complete(*args)
        if not lost:
            lost.append(answer)
            raise ConnectionResetError
        return answer

    monkeypatch.setattr(last_actions, "complete_last", once)
    return lost


@dataclass
class Stubborn:
    """`stubborn.act@1`, which no cancel stops."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def pack(self) -> Sequence[Action]:
        """The action."""

        async def call(*_: Any) -> Any:
            self.begun.set()
            while not self.gate.is_set():
                with suppress(asyncio.CancelledError):
                    await self.gate.wait()
            return {"calls": 1}

        anything = {"type": "object"}
        return [Action("stubborn.act", 1, call, anything, anything, "Waits.", effect=Effect.IDEMPOTENT)]

    async def end(self, db: Database) -> None:
        """Lets it end, and waits until it is recorded."""
        self.gate.set()
        async with asyncio.timeout(30):
            while "stubborn.act" not in [
                i["action_id"] for i in await rows(db, "workflow_action_invocations") if i["status"] == "SUCCEEDED"
            ]:
                await asyncio.sleep(0.01)
