"""One run under any order of what may happen to it: interpreter, router and SQL are the product's, steps are by hand.

What Temporal gives, signals and timers that are not lost and activities that are tried again, is played here, so that
every order can be had; what comes of it is held against the predicates of the protocol's model.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from sqlalchemy import text

from harness.interpreted import document
from harness.run_records import TENANT, publish
from model.exploring import always_wrong, finally_wrong
from model.protocol import Event as ModelEvent
from model.protocol import Mode, Scenario
from model.protocol import Run as ModelRun
from model.protocol import State as ModelState
from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import Failure
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.ingress.router import route_event
from workflows_core.interpreter.compile import compile_plan
from workflows_core.interpreter.messages import (
    Begin,
    CancelRequested,
    CancelTimer,
    Command,
    Event,
    EventReceived,
    StartTimer,
    TimerFired,
)
from workflows_core.interpreter.state import RunIdentity, State
from workflows_core.interpreter.step import initial_state, outstanding, step
from workflows_core.interpreter.writes import take_final_write, take_write, write_is_due
from workflows_core.storage.begun_runs import begun_run
from workflows_core.storage.database import Database
from workflows_core.storage.repairs import end_run
from workflows_core.storage.run_writes import write_run
from workflows_core.wire.messages import EventSignal
from workflows_core.wire.records import RunWrite

OPERATIONS = ("publish", "open wait", "time out", "cancel", "close", "continue-as-new", "crash")
WAITS = 2
MAX_EVENTS = 2
MAX_CRASHES = 2
POLICY = IngressPolicy()
_GATE = {"type": "time.wait", "config": {"mode": "duration", "durationMs": 3_600_000}}


def _document(match: Mode) -> dict[str, Any]:
    config = {"eventName": "PAID", "correlationKey": {"$expr": "payload.key"}, "timeoutMs": 60_000, "match": match}
    wait = {"type": "event.wait", "config": config, "onError": {"policy": "continue"}}
    return document(*[part for _ in range(WAITS) for part in (_GATE, wait)])


PLANS = {match: compile_plan(parse_definition(_document(match)), JlensEngine()) for match in ("all", "one")}


def legal(depth: int) -> Iterator[tuple[str, ...]]:
    """Every order of so many operations that can happen: nothing happens to a run that was closed, and so on."""

    def following(done: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if len(done) == depth:
            yield done
            return
        for operation in OPERATIONS:
            if _may_follow(done, operation):
                yield from following((*done, operation))

    yield from following(())


def _may_follow(done: tuple[str, ...], operation: str) -> bool:
    opened, passed = done.count("open wait"), done.count("time out")
    if operation == "publish":
        return done.count("publish") < MAX_EVENTS
    if operation == "crash":
        return done.count("crash") < MAX_CRASHES
    if "cancel" in done or "close" in done:
        return False
    if operation == "open wait":
        return opened < WAITS
    return opened > passed if operation == "time out" else True


@dataclass
class OrderedRun:
    """The run: what its history holds, what is under way, and the rows it has in the database.

    `schedule` says which of the parties' own steps happen between two operations: `all`, `none`, or a seed for some of
    them, and for the order in which everything comes to rest at the end.
    """

    db: Database
    run_id: str
    match: Mode
    schedule: str | int
    state: State = field(init=False)
    timers: dict[str, StartTimer] = field(default_factory=dict)
    inbox: list[tuple[str, str, str]] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)
    in_flight: RunWrite | None = None
    applied: bool = False
    zombies: list[tuple[RunWrite, str]] = field(default_factory=list)
    recorded: bool = False
    ended: str = ""
    reconciled: bool = False
    final_told: bool = False
    events: list[str] = field(default_factory=list)
    took: list[tuple[int, int]] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    known: tuple[list[str], list[Mapping[str, Any]]] | None = None
    """Pending events and deliveries as they were read; None once something may have changed them."""

    async def play(self, operations: tuple[str, ...]) -> list[str]:
        """Does them in this order, then lets everything come to rest; what is wrong then."""
        # Another one for each order: with one seed for all, the same parties would always be as far.
        chance = random.Random(f"{self.schedule} {operations}")  # noqa: S311 - an order, no secret
        await self._start()
        for operation in operations:
            await self._operate(operation)
            if self.schedule == "all":
                await self._settle()
            elif self.schedule != "none":
                for _ in range(chance.randrange(6)):
                    possible = await self._possible()
                    if possible:
                        await chance.choice(possible)()
        at_rest = chance if isinstance(self.schedule, int) else None
        await self._settle(at_rest)
        # A run that stands before a wait goes on to it, so that nothing is undecided.
        while not self.ended and self._gate() is not None:
            await self._operate("open wait")
            await self._settle(at_rest)
        return await self._wrong()

    # What happens to it

    async def _start(self) -> None:
        async with self.db.tenant(TENANT) as conn:
            started = (await begun_run(conn, TENANT, self.run_id)).started_at
        identity = RunIdentity(self.run_id, TENANT, "orders", 1, "hash", None)
        plan = PLANS[self.match]
        self.state = initial_state(plan, identity, payload={"key": self.run_id}, meta={}, started_at=started)
        self._apply(Begin(_now()))

    async def _operate(self, operation: str) -> None:
        if operation == "publish":
            event_id = f"{self.run_id}-{len(self.events)}"
            self.events.append(event_id)
            await publish(self.db, event_id, self.run_id)
            self.known = None
        elif operation == "crash":
            await self._crash()
        elif not self.ended:
            self._happen(operation)

    def _happen(self, operation: str) -> None:
        if operation == "open wait" and (gate := self._gate()) is not None:
            self._fire(gate)
        elif operation == "time out" and (timer := self._timer_of_wait()) is not None:
            self._fire(timer)
        elif operation == "cancel":
            self._apply(CancelRequested(_now()))
        elif operation == "close":
            self.ended = "terminated"
            self.inbox.clear()
            if self.in_flight is not None:
                self.zombies.append((self.in_flight, self._execution))
        elif operation == "continue-as-new" and self.in_flight is None:
            # An execution takes what it has been sent before it goes on as a new one.
            while self.inbox and not self.ended:
                self._take(0)
            if self.in_flight is None and not self.ended:
                self.state = State.from_checkpoint(self.state.to_checkpoint())
                self._issue(outstanding(PLANS[self.match], self.state))
                self._apply(Begin(_now()))

    async def _crash(self) -> None:
        """The process dies: what was sent is sent again, what was written may be written again, and late."""
        _, deliveries = await self._seen()
        for delivery in deliveries:
            if delivery["status"] == "new":
                self._receive(delivery)
        if self.in_flight is not None:
            await self._tell(self.in_flight, self._execution)
            self.zombies.append((self.in_flight, self._execution))
            self.applied = False

    # What the parties do by themselves

    async def _settle(self, chance: random.Random | None = None) -> None:
        while possible := await self._possible():
            await (possible[0] if chance is None else chance.choice(possible))()

    async def _possible(self) -> list[Callable[[], Awaitable[None]]]:
        pending, deliveries = await self._seen()
        found: list[Callable[[], Awaitable[None]]] = [partial(self._route, one) for one in pending]
        for delivery in deliveries:
            sent = delivery["delivery_id"] in self.marks
            if delivery["status"] == "new" and not sent:
                found.append(partial(self._send, delivery))
            elif sent:
                found.append(partial(self._mark, delivery))
        if self.inbox and not self.ended:
            found.append(self._look)
        if self.in_flight is not None and self.ended != "terminated":
            found.append(self._acknowledge if self.applied else self._write)
        if self.zombies:
            found.append(self._write_late)
        if self.ended == "terminated" and not self.reconciled:
            found.append(self._reconcile)
        return found

    async def _route(self, event_id: str) -> None:
        await route_event(self.db, TENANT, event_id, POLICY)
        self.known = None

    async def _send(self, delivery: Mapping[str, Any]) -> None:
        self._receive(delivery)
        self.marks.add(delivery["delivery_id"])

    async def _mark(self, delivery: Mapping[str, Any]) -> None:
        self.marks.discard(delivery["delivery_id"])
        async with self.db.tenant(TENANT) as conn:
            await conn.execute(_ACCEPTED, {"id": delivery["delivery_id"]})
        self.known = None

    async def _look(self) -> None:
        self._take(0)

    async def _write(self) -> None:
        assert self.in_flight is not None
        await self._tell(self.in_flight, self._execution)
        self.applied = True

    async def _acknowledge(self) -> None:
        assert self.in_flight is not None
        self.state = replace(self.state, outbox=self.state.outbox.acknowledge(self.in_flight["sequence"]))
        self.recorded, self.in_flight, self.applied = True, None, False
        self._apply(Begin(_now()))

    async def _write_late(self) -> None:
        write, execution = self.zombies.pop()
        await self._tell(write, execution)

    async def _tell(self, write: RunWrite, execution: str) -> None:
        await write_run(self.db, write, execution)
        self.known = None

    async def _reconcile(self) -> None:
        self.reconciled = True
        consumed = [dict(e.record) for e in self.state.outbox.entries if e.kind == "consumed"]
        failure = Failure("Cancellation", "the run was terminated")
        # A run without row has told nobody of itself; the launcher's row is what the reconciler finds.
        if self.recorded or await self._has_row():
            last = self._execution
            await end_run(self.db, TENANT, self.run_id, "FAILED", failure, execution=last, consumed=consumed)
            self.known = None

    # The run itself

    @property
    def _execution(self) -> str:
        return f"{self.run_id}-{self.state.generation}"

    def _apply(self, event: Event) -> None:
        self.state, commands = step(PLANS[self.match], self.state, event)
        self._issue(commands)
        for wait in self.state.open_waits():
            if wait["wait_type"] == "event" and wait["wait_id"] not in self.waits:
                self.waits.append(wait["wait_id"])
        self._write_if_due()

    def _issue(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            if isinstance(command, StartTimer):
                self.timers[command.command_id] = command
            elif isinstance(command, CancelTimer):
                self.timers.pop(command.command_id, None)

    def _write_if_due(self) -> None:
        if self.state.outcome is not None and not self.final_told:
            # A cancel stops the write that is under way: it is lost, or it comes late.
            if self.in_flight is not None and self.schedule != "none":
                self.zombies.append((self.in_flight, self._execution))
            self.state, self.in_flight = take_final_write(self.state, None)
            self.applied, self.final_told, self.ended = False, True, "finished"
            return
        wanted = self.state.outcome is None and (not self.recorded or write_is_due(self.state, _now()))
        if wanted and self.in_flight is None:
            self.state, self.in_flight = take_write(self.state, _now())

    def _receive(self, delivery: Mapping[str, Any]) -> None:
        if not self.ended:
            self.inbox.append((delivery["delivery_id"], delivery["event_id"], delivery["target_id"]))

    def _take(self, index: int) -> None:
        delivery_id, event_id, wait_id = self.inbox.pop(index)
        signal = EventSignal(event_id, "PAID", self.run_id, {"amount": 5}, wait_id=wait_id, delivery_id=delivery_id)
        self._apply(EventReceived(signal, _now()))
        for entry in self.state.outbox.entries:
            if entry.kind == "consumed":
                taken = (self.waits.index(entry.record["wait_id"]), self.events.index(entry.record["event_id"]))
                if taken not in self.took:
                    self.took.append(taken)

    def _fire(self, timer: StartTimer) -> None:
        self.timers.pop(timer.command_id, None)
        self._apply(TimerFired(timer.command_id, _now()))

    def _gate(self) -> StartTimer | None:
        return self._timer("time")

    def _timer_of_wait(self) -> StartTimer | None:
        return self._timer("event")

    def _timer(self, kind: str) -> StartTimer | None:
        for _, pending in self.state.pending("time", "event"):
            if pending.kind == kind:
                return self.timers.get(pending.command_id)
        return None

    # What came of it

    async def _rows(self, query: str) -> list[dict[str, Any]]:
        async with self.db.tenant(TENANT) as conn:
            found = await conn.execute(text(query), {"run": self.run_id, "events": self.events})
            return [dict(row) for row in found.mappings()]

    async def _has_row(self) -> bool:
        return bool(await self._rows("SELECT 1 AS found FROM workflow_runs WHERE run_id = :run"))

    async def _seen(self) -> tuple[list[str], list[Mapping[str, Any]]]:
        """Events that nobody has routed yet, and the deliveries, in one look: most of the time goes into looking."""
        if self.known is None:
            rows = await self._rows(_SEEN)
            pending = [row["event_id"] for row in rows if row["delivery_id"] is None]
            self.known = pending, [row for row in rows if row["delivery_id"] is not None]
        return self.known

    async def _wrong(self) -> list[str]:
        """What the model's predicates say of the rows and of what the run took."""
        events = await self._rows(
            "SELECT e.event_id, e.status, c.wait_id,"
            " rank() OVER (ORDER BY e.processed_at, e.event_id) AS place FROM workflow_runtime_events e"
            " LEFT JOIN workflow_event_claims c ON c.tenant = e.tenant AND c.event_id = e.event_id"
            " WHERE e.tenant = 'acme' AND e.event_id = ANY (:events)"
        )
        rows = await self._rows(
            "SELECT wait_id, status FROM workflow_run_waits WHERE run_id = :run AND key IS NOT NULL"
        )
        known = {row["wait_id"]: row["status"] for row in rows}
        number = {wait_id: (0, index) for index, wait_id in enumerate(self.waits)}
        found = {row["event_id"]: row for row in events}
        at = len(self.waits) - 1 if self._timer_of_wait() is not None else WAITS
        taken = tuple(self.took)
        run = ModelRun(started=0, at=min(at, WAITS), took=taken, ended=self.ended)
        names = {"WAITING": "open", "RESOLVED": "resolved"}
        _, deliveries = await self._seen()
        state = ModelState(
            runs=(run,),
            events=tuple(
                ModelEvent(found[one]["status"], int(found[one]["place"]), number.get(found[one]["wait_id"]))
                for one in self.events
            ),
            waits=tuple((number[wait], names.get(status, "closed")) for wait, status in known.items()),
            deliveries=tuple(
                ((self.events.index(row["event_id"]), number[row["target_id"]]), row["status"]) for row in deliveries
            ),
        )
        scenario = Scenario(len(self.events), ((self.match,) * WAITS,))
        return [*always_wrong(scenario, state), *finally_wrong(scenario, state)]


_SEEN = (
    "SELECT event_id, NULL AS delivery_id, NULL AS target_id, status, 0 AS ordinal FROM workflow_runtime_events"
    " WHERE tenant = 'acme' AND event_id = ANY (:events) AND status = 'pending'"
    " UNION ALL SELECT event_id, delivery_id, target_id, status, ordinal FROM workflow_event_deliveries"
    " WHERE run_id = :run ORDER BY ordinal, event_id"
)
_ACCEPTED = text(
    "UPDATE workflow_event_deliveries SET status = 'accepted', attempts = attempts + 1"
    " WHERE delivery_id = :id AND status = 'new'"
)


def _now() -> int:
    return int(time.time() * 1000)


async def play_all(
    db: Database, match: str, orders: Sequence[tuple[str, ...]], schedules: Sequence[str | int], width: int = 12
) -> dict[str, list[str]]:
    """Plays each order under each schedule, so many side by side; what is wrong, by order and schedule."""
    wrong: dict[str, list[str]] = {}
    work = [(order, schedule) for order in orders for schedule in schedules]
    batch = uuid.uuid4().hex[:8]

    async def worker() -> None:
        while work:
            order, schedule = work.pop()
            run = OrderedRun(db, f"{batch}-{len(work)}", "one" if match == "one" else "all", schedule)
            if found := await run.play(order):
                wrong[f"{', '.join(order)} ({schedule})"] = found

    await asyncio.gather(*(worker() for _ in range(width)))
    return wrong
