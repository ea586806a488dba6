"""Random definitions on Temporal: answered from outside as scripted, and followed by the reference.

Which of two open questions has its answer first is real time's to decide, and nothing else is. So a run says in which
order it took its answers, and the reference, told that order, has to say all the rest.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from sqlalchemy import text
from temporalio.client import Client
from temporalio.service import RPCError

from harness.authored import TENANT
from harness.interpreted import document
from harness.random_definitions import CATEGORIES, TIMED_OUT, InTurn, category_of, with_scripts
from harness.reference import Question, Reference
from workflows_core.errors import Refused
from workflows_core.execution import driver
from workflows_core.interpreter.messages import CancelRequested, Event, EventReceived
from workflows_core.interpreter.step import step
from workflows_core.storage.database import Database
from workflows_core.storage.human_tasks import answer_task
from workflows_core.wire.messages import EventSignal
from workflows_core.wire.names import RUN_ENDED, SIGNAL_EVENT, workflow_id_of

_OPEN = text(
    "SELECT w.*, r.status AS run_status FROM workflow_run_waits w JOIN workflow_runs r USING (tenant, run_id)"
    " WHERE w.status = 'WAITING' ORDER BY w.created_at, w.wait_id"
)
_GO = {"type": "event.wait", "config": {"eventName": "GO", "correlationKey": {"$expr": "'k'"}}}
_FAIL = {"actionId": "test.fail", "version": 1, "inputMapping": {"category": CATEGORIES[0]}}
CHILD_DOCUMENT = document(
    _GO,
    {
        "type": "control.if",
        "condition": {"$expr": "event.fails"},
        "then": [{"id": "f", "type": "action.call", "config": _FAIL}],
    },
    {"type": "control.return", "value": {"$expr": "event.n"}},
)
"""Ends as it is told."""


class Scripted:
    """A definition with its script, as it can be kept in real time.

    A wait either is answered whenever it opens, and has no time-out, or times out whenever it opens: an answer and a
    time-out that both may come would be a race. Who times out first and is answered then is left to the simulation.
    """

    def __init__(self, definition: Any, failures: InTurn, nobody: frozenset[str]) -> None:
        self.failures = failures
        self.nobody = nobody
        self.actions: set[str] = set()
        self.definition = self._timed(definition)
        self.document = with_scripts(self.definition, self.failures)

    def _timed(self, value: Any, undoing: bool = False) -> Any:
        if isinstance(value, list):
            return [self._timed(one, undoing) for one in value]
        if not isinstance(value, dict):
            return value
        if value.get("type") == "action.call":
            self.actions.add(value["id"])
        copy = {name: self._timed(one, undoing or name == "onCompensate") for name, one in value.items()}
        if value.get("type") in ("event.wait", "human.task"):
            attempts = range(1, value.get("retry", {}).get("maxAttempts", 1) + 1)
            unanswered = value["id"] in self.nobody and not undoing
            if not unanswered and any(category_of(value, self.failures, one) == TIMED_OUT for one in attempts):
                self.failures = self.failures.but(value["id"], [CATEGORIES[1]] * len(attempts))
            else:
                copy["config"] = {name: one for name, one in value["config"].items() if name != "timeoutMs"}
        return copy

    def reference(self) -> Reference:
        """Of this, at its begin."""
        return Reference(self.definition, self.failures, self.nobody)

    def at(self, path: str) -> dict[str, Any]:
        """The step at a place."""
        found: Any = self.definition
        for part in path.split(".")[1:]:
            name, _, number = part.removesuffix("]").partition("[")
            found = found[name] if isinstance(found, dict) else found
            if number and name != "body":
                found = found[int(number)]
        assert isinstance(found, dict)
        return found


@contextmanager
def events_taken() -> Iterator[dict[str, list[Event]]]:
    """What the runs of this process's worker are told meanwhile, in its order, by run."""
    taken: dict[str, list[Event]] = defaultdict(list)

    def noting(plan: Any, state: Any, event: Event, **bounds: Any) -> Any:
        taken[state.identity.run_id].append(event)
        return step(plan, state, event, **bounds)

    with patch.object(driver, "step", noting):
        yield taken


@dataclass
class Followed:
    """The reference after it was told what a run was told; `called` and `answered` are actions."""

    reference: Reference
    answered: list[tuple[str, int]] = field(default_factory=list)

    def follow(self, events: list[Event]) -> None:
        """Answers the questions that the events answer; as the run, it ignores what it has not asked."""
        for event in events:
            if isinstance(event, CancelRequested):
                self.reference.cancel()
            name = _answered(event)
            for question in [one for one in self.reference.asked if _name(one) == name]:
                if question.kind == "action":
                    self.answered.append((question.step["id"], question.attempt))
                self.reference.answer(question)

    def met(self) -> Iterator[str]:
        """Which step types and ends the run has come to, and how."""
        visits = self.reference.seen.trace
        yield self.reference.seen.status
        for path, visit in visits.items():
            yield visit.type
            if visit.attempt > 1:
                yield "again"
            if "onCompensate" in path:
                yield "undone"
        if self.reference.ever_several:
            yield "side by side"


def _answered(event: Event) -> str | None:
    if isinstance(event, EventReceived):
        return event.signal.wait_id and event.signal.wait_id.partition(":")[2]
    return getattr(event, "command_id", None)


def _name(question: Question) -> str:
    """What its answer names."""
    command = f"{question.path}@{question.attempt}"
    if question.kind in ("action", "launch"):
        return command
    if question.passes:
        return f"{command}:{'retry' if question.kind == 'retry' else 'wait'}"
    return f"{question.path}:1" + ("" if question.attempt == 1 else f".{question.attempt}")


@dataclass
class Outside:
    """Answers what runs wait for, as their scripts have it; a run in which nothing else can happen is cancelled."""

    db: Database
    client: Client
    scripted: Mapping[str, Scripted]
    done: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)

    async def answer(self) -> None:
        """For ever."""
        while True:
            async with self.db.tenant(TENANT) as conn:
                found = [dict(row) for row in (await conn.execute(_OPEN)).mappings()]
            stuck: dict[str, list[bool]] = defaultdict(list)
            for row in found:
                if row["run_id"] in self.scripted:
                    stuck[row["run_id"]].append(row["run_status"] == "WAITING" and self.is_left(row))
                    if row["wait_id"] not in self.done and not self.is_left(row):
                        self.done.add(row["wait_id"])
                        with suppress(RPCError, Refused):  # It may have ended meanwhile.
                            await self.give(row)
            for run_id in (run_id for run_id, waits in stuck.items() if all(waits)):
                self.cancelled.add(run_id)
                with suppress(RPCError):
                    await self.client.get_workflow_handle(workflow_id_of(run_id)).cancel()
            await asyncio.sleep(0.05)

    def is_left(self, row: Mapping[str, Any]) -> bool:
        """Whether it stays open."""
        nobody = self.scripted[row["run_id"]].nobody
        return self._step(row)["id"] in nobody and ".onCompensate" not in row["step_path"]

    async def give(self, row: Mapping[str, Any]) -> None:
        """What the script has for the wait's attempt."""
        step, wait_id = self._step(row), row["wait_id"]
        attempt = int(wait_id.rpartition(":")[2].partition(".")[2] or 1)
        category = category_of(step, self.scripted[row["run_id"]].failures, attempt)
        if category == TIMED_OUT or step["type"] == "time.wait":
            return
        payload = {"n": attempt} if category is None else {}
        if step["type"] == "human.task":
            async with self.db.tenant(TENANT) as conn:
                await answer_task(conn, TENANT, row["key"], payload, "somebody")
        elif row["event_name"] == RUN_ENDED:
            signal = EventSignal(str(uuid.uuid4()), "GO", "k", {"n": attempt, "fails": category is not None})
            await self._signal(row["key"], signal)
        else:
            signal = EventSignal(str(uuid.uuid4()), row["event_name"], row["key"], payload, wait_id=wait_id)
            await self._signal(row["run_id"], signal)

    async def _signal(self, run_id: str, signal: EventSignal) -> None:
        handle = self.client.get_workflow_handle(workflow_id_of(run_id))
        await handle.signal(SIGNAL_EVENT, signal.to_wire())

    def _step(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return self.scripted[row["run_id"]].at(row["step_path"])
