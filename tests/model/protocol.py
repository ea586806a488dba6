"""An explicit-state model of event ingress (docs/adr/0006): every order of what its parties may do.

Small on purpose: one event name and key, filters left out, time only as the order of routing and starting. `RULES`
names the rules; a scenario is explored with all of them, and with each taken out, which must give a counterexample.

Three more are kept here and in the code although the others imply them: what was consumed counts however old the write,
a closed wait never opens again, and what is routed again goes to waits with match one only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeVar

_T = TypeVar("_T")
_K = TypeVar("_K")
_V = TypeVar("_V")

RULES = frozenset(
    {
        "look back when a wait opens",
        "look back over what was routed, whatever it is now",
        "an older write closes and opens nothing",
        "an event is not matched again by a later wait of its run",
        "a wait that closes gives its deliveries their verdict",
        "a claim of a closed wait is released",
        "the time of routing is the first",
        "what is routed again goes to no wait whose window begins later",
        "only what is still new becomes accepted",
        "a run takes a delivery only while its wait is open",
        "the reconciler judges runs that ended without telling",
        "the reconciler asks what the run took",
        "a consumption travels until it is acknowledged",
        "a wait that refused an event looks back again",
        "a wait whose delivery died looks back again",
    }
)

Mode = Literal["all", "one", "task"]
"""A task is a wait that refuses event 0: an answer that does not fit its schema."""

Wait = tuple[int, int]
"""Run and number of the wait in it."""


class Write(NamedTuple):
    """What a regular activity of a run carries."""

    sequence: int
    consumed: frozenset[tuple[int, int]]
    open: frozenset[int]
    final: bool
    refused: frozenset[tuple[int, int]] = frozenset()


class Run(NamedTuple):
    """A run as its history has it: the wait it is at, what it consumed, what is under way."""

    started: int = -1
    at: int = 0
    took: tuple[tuple[int, int], ...] = ()
    unacknowledged: frozenset[tuple[int, int]] = frozenset()
    refused: frozenset[tuple[int, int]] = frozenset()
    inbox: frozenset[tuple[int, int]] = frozenset()
    sequence: int = 0
    written: tuple[int, int, frozenset[tuple[int, int]]] | None = None
    in_flight: Write | None = None
    applied: bool = False
    answer: frozenset[tuple[int, int]] = frozenset()
    zombie: Write | None = None
    ended: str = ""


class Event(NamedTuple):
    """A row of the stream; `claim` is the wait that has it of those with match one."""

    status: str = ""
    routed: int = -1
    claim: Wait | None = None


@dataclass(frozen=True)
class State:
    """Everything; waits and deliveries are rows of the database."""

    runs: tuple[Run, ...]
    events: tuple[Event, ...]
    waits: tuple[tuple[Wait, str], ...] = ()
    matched: frozenset[tuple[Wait, int]] = frozenset()
    deliveries: tuple[tuple[tuple[int, Wait], str], ...] = ()
    marks: frozenset[tuple[int, Wait]] = frozenset()
    fences: tuple[int, ...] = ()
    rows_ended: frozenset[int] = frozenset()
    clock: int = 0
    spent: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Scenario:
    """How many events; the waits of each run; what may go wrong, each once."""

    events: int
    programs: tuple[tuple[Mode, ...], ...]
    faults: frozenset[str] = frozenset()
    rules: frozenset[str] = field(default=RULES)

    def start(self) -> State:
        """Nothing has happened."""
        runs = tuple(Run() for _ in self.programs)
        return State(runs, tuple(Event() for _ in range(self.events)), fences=(0,) * len(runs))


UNDER_WAY, UNDECIDED = ("new", "accepted"), ("new", "accepted", "dead")


class Rows:
    """What one transaction changes."""

    def __init__(self, state: State) -> None:
        self.waits, self.deliveries = dict(state.waits), dict(state.deliveries)
        self.events, self.matched = list(state.events), set(state.matched)

    def known(self, run: int) -> set[int]:
        """Waits of the run that have a row."""
        return {number for owner, number in self.waits if owner == run}

    def consume(self, run: int, write: Write) -> None:
        """Rule 1."""
        for number, event in write.consumed:
            wait = (run, number)
            self.matched.add((wait, event))
            if self.waits.get(wait) == "open":
                self.waits[wait] = "resolved"
            if (event, wait) in self.deliveries:
                self.deliveries[event, wait] = "consumed"

    def refuse(self, run: int, write: Write) -> Iterator[Wait]:
        """The delivery has its verdict, and its wait is open for another."""
        for number, event in write.refused:
            if self.deliveries.get((event, (run, number))) in UNDECIDED and self.waits.get((run, number)) == "open":
                self.deliveries[event, (run, number)] = "undeliverable"
                yield run, number

    def has_one_under_way(self, wait: Wait) -> bool:
        """A wait takes one event."""
        return any(owner == wait and status in UNDER_WAY for (_, owner), status in self.deliveries.items())

    def close(self, run: int, write: Write) -> None:
        """Open waits that the write does not name."""
        for wait, status in self.waits.items():
            if wait[0] == run and status == "open" and wait[1] not in write.open:
                self.waits[wait] = "closed"

    def decide(self, run: int, verdict: str) -> None:
        """Unresolved deliveries of closed waits."""
        for (event, wait), status in self.deliveries.items():
            if wait[0] == run and status in UNDECIDED and self.waits.get(wait) != "open":
                self.deliveries[event, wait] = verdict

    def release(self, run: int) -> None:
        """Claims of closed waits that did not consume their event."""
        for number, found in enumerate(self.events):
            wait = found.claim
            if wait is None or wait[0] != run or self.waits.get(wait) == "open" or (wait, number) in self.matched:
                continue
            self.events[number] = found._replace(claim=None, status="pending")


class Step:
    """Builds successors of one state."""

    def __init__(self, scenario: Scenario, state: State) -> None:
        self.scenario, self.state = scenario, state

    def rule(self, name: str) -> bool:
        """Whether the rule is kept."""
        assert name in RULES, name
        return name in self.scenario.rules

    def system(self) -> Iterator[tuple[str, State]]:
        """What the parties do by themselves; where nothing is left, everything has to be right."""
        state = self.state
        for index, event in enumerate(state.events):
            if event.status == "pending":
                yield f"route e{index}", self.routed(index)
        for (number, wait), status in state.deliveries:
            if status == "new" and (number, wait) not in state.marks:
                yield f"send e{number} to {wait}", self.sent(number, wait)
        for number, wait in state.marks:
            yield f"mark e{number} to {wait}", self.marked(number, wait)
        for index, run in enumerate(state.runs):
            yield from self.run_steps(index, run)

    def environment(self) -> Iterator[tuple[str, State]]:
        """What may happen and need not."""
        state = self.state
        yield from self.run_faults()
        for index, event in enumerate(state.events):
            if event.status == "":
                yield f"publish e{index}", replace(state, events=_put(state.events, index, Event("pending")))
        for (number, wait), status in state.deliveries:
            if status == "new" and (fault := f"lose e{number}") in self.scenario.faults - state.spent:
                yield fault, replace(self.died(number, wait), spent=state.spent | {fault})
        for index, run in enumerate(state.runs):
            if run.started < 0:
                begun = replace(state, runs=_put(state.runs, index, Run(started=state.clock)), clock=state.clock + 1)
                yield f"start r{index}", begun
            if run.zombie is not None:
                yield f"zombie write of r{index}", self.applied(index, run.zombie, run._replace(zombie=None))

    def run_faults(self) -> Iterator[tuple[str, State]]:
        """A run's wait times out, or the run ends outside."""
        state = self.state
        for index, run in enumerate(state.runs):
            if run.started < 0 or run.ended or run.at == len(self.scenario.programs[index]):
                continue
            if (fault := f"time out r{index}") in self.scenario.faults - state.spent:
                spent = state.spent | {fault}
                yield fault, replace(self.with_run(index, run._replace(at=run.at + 1)), spent=spent)
            if (fault := f"terminate r{index}") in self.scenario.faults - state.spent:
                dead = run._replace(ended="terminated", inbox=frozenset())
                yield fault, replace(self.with_run(index, dead), spent=state.spent | {fault})

    # Router and sender

    def routed(self, index: int) -> State:
        """One transaction under the key's lock."""
        state, event = self.state, self.state.events[index]
        again = event.routed >= 0
        deliveries, claim = dict(state.deliveries), event.claim
        for wait, status in state.waits:
            if status != "open" or self.seen(state, wait, index) or (index, wait) in deliveries:
                continue
            if any(owner == wait and found in UNDER_WAY for (_, owner), found in deliveries.items()):
                continue
            before = again and event.routed < state.runs[wait[0]].started
            if before and self.rule("what is routed again goes to no wait whose window begins later"):
                continue
            if self.mode(wait) != "one":
                if not again:
                    deliveries[index, wait] = "new"
            elif claim is None:
                claim = wait
                deliveries[index, wait] = "new"
        first = event.routed if again and self.rule("the time of routing is the first") else state.clock
        events = _put(state.events, index, Event("routed", first, claim))
        return replace(state, events=events, deliveries=_sorted(deliveries), clock=state.clock + 1)

    def sent(self, event: int, wait: Wait) -> State:
        """A signal; the mark comes later, or never."""
        state, run = self.state, self.state.runs[wait[0]]
        if run.started >= 0 and not run.ended:
            state = self.with_run(wait[0], run._replace(inbox=run.inbox | {(wait[1], event)}))
        return replace(state, marks=state.marks | {(event, wait)})

    def marked(self, event: int, wait: Wait) -> State:
        """`accepted`, unless the run was quicker."""
        state, deliveries = self.state, dict(self.state.deliveries)
        if deliveries[event, wait] == "new" or not self.rule("only what is still new becomes accepted"):
            deliveries[event, wait] = "accepted"
        return replace(state, deliveries=_sorted(deliveries), marks=state.marks - {(event, wait)})

    def died(self, event: int, wait: Wait) -> State:
        """Sending failed too often; an attempt may have come through all the same. Under the key's lock."""
        rows = Rows(self.state)
        rows.deliveries[event, wait] = "dead"
        if rows.waits.get(wait) == "open" and self.rule("a wait whose delivery died looks back again"):
            self.look_back(wait, rows)
        return replace(self.state, deliveries=_sorted(rows.deliveries), events=tuple(rows.events))

    # The run

    def run_steps(self, index: int, run: Run) -> Iterator[tuple[str, State]]:
        """Takes signals, writes, ends; and what the reconciler does for one that cannot."""
        if run.started < 0:
            return
        if run.ended == "terminated":
            if self.rule("the reconciler judges runs that ended without telling") and (
                index not in self.state.rows_ended
            ):
                known = self.rule("the reconciler asks what the run took")
                last = Write(run.sequence + 9, run.unacknowledged if known else frozenset(), frozenset(), final=True)
                yield f"reconcile r{index}", self.applied(index, last, run, "undeliverable")
            return
        if run.in_flight is not None and not run.applied:
            yield f"write of r{index}", self.applied(index, run.in_flight, run._replace(applied=True), hand_over=True)
        elif run.in_flight is not None:
            yield f"acknowledge r{index}", self.acknowledged(index, run)
        if not run.ended:
            yield from self.own_steps(index, run)

    def own_steps(self, index: int, run: Run) -> Iterator[tuple[str, State]]:
        """What the run's own code does."""
        for wait, event in run.inbox:
            left = run._replace(inbox=run.inbox - {(wait, event)})
            if wait == run.at < len(self.scenario.programs[index]) and self.refuses((index, wait), event):
                left = left._replace(refused=run.refused | {(wait, event)})
            elif wait == run.at or not self.rule("a run takes a delivery only while its wait is open"):
                taken = (wait, event)
                left = left._replace(
                    took=(*run.took, taken), unacknowledged=run.unacknowledged | {taken}, at=max(run.at, wait + 1)
                )
            yield f"r{index} looks at e{event} for {wait}", self.with_run(index, left)
        told = (run.at, len(run.took), run.refused)
        if run.in_flight is None and run.written != told:
            final = run.at == len(self.scenario.programs[index])
            named = frozenset() if final else frozenset({run.at})
            issued = run._replace(
                sequence=run.sequence + 1,
                in_flight=Write(run.sequence + 1, run.unacknowledged, named, final, run.refused),
                applied=False,
                written=told,
                ended="finished" if final else "",
            )
            if not self.rule("a consumption travels until it is acknowledged"):
                issued = issued._replace(unacknowledged=frozenset())
            yield f"r{index} schedules a write", self.with_run(index, issued)

    def acknowledged(self, index: int, run: Run) -> State:
        """The run gets what the write found for the wait it opened. Or the attempt lives on and writes once more."""
        write = run.in_flight
        assert write is not None
        lost = f"lose the answer of r{index}"
        state = self.state
        zombie, answer = None, run.answer
        if lost in self.scenario.faults - state.spent:
            zombie, answer, state = write, frozenset(), replace(state, spent=state.spent | {lost})
        done = run._replace(
            in_flight=None,
            applied=False,
            answer=frozenset(),
            inbox=run.inbox if run.ended else run.inbox | answer,
            zombie=zombie,
            unacknowledged=run.unacknowledged - write.consumed,
        )
        return replace(state, runs=_put(state.runs, index, done))

    def applied(self, index: int, write: Write, after: Run, verdict: str = "late", *, hand_over: bool = False) -> State:
        """The run write: rules 1 to 4 in one transaction under the keys' locks."""
        state, rows = self.state, Rows(self.state)
        rows.consume(index, write)
        refusing = set(rows.refuse(index, write))
        current = write.sequence >= state.fences[index]
        if current or not self.rule("an older write closes and opens nothing"):
            rows.close(index, write)
            for number in sorted(write.open - rows.known(index)) if index not in state.rows_ended else ():
                rows.waits[index, number] = "open"
                if self.rule("look back when a wait opens"):
                    self.look_back((index, number), rows)
        for wait in sorted(refusing):
            if rows.waits.get(wait) == "open" and self.rule("a wait that refused an event looks back again"):
                self.look_back(wait, rows)
        if self.rule("a wait that closes gives its deliveries their verdict"):
            rows.decide(index, verdict)
        if self.rule("a claim of a closed wait is released"):
            rows.release(index)
        if hand_over:
            fresh = rows.deliveries.keys() - dict(state.deliveries).keys()
            after = after._replace(answer=frozenset((number, event) for event, (_, number) in fresh))
        return replace(
            state,
            runs=_put(state.runs, index, after),
            waits=_sorted(rows.waits),
            deliveries=_sorted(rows.deliveries),
            events=tuple(rows.events),
            matched=frozenset(rows.matched),
            fences=_put(state.fences, index, max(state.fences[index], write.sequence)),
            rows_ended=state.rows_ended | {index} if write.final else state.rows_ended,
        )

    def look_back(self, wait: Wait, rows: Rows) -> None:
        """Sends the first event that was routed since the run began and fits, unless one is under way."""
        view = replace(self.state, matched=frozenset(rows.matched))
        anyhow = self.rule("look back over what was routed, whatever it is now")
        if rows.has_one_under_way(wait):
            return
        for index, event in sorted(enumerate(rows.events), key=lambda found: found[1].routed):
            found = event.status == "routed" or (anyhow and event.routed >= 0)
            if not found or event.routed < self.state.runs[wait[0]].started or self.seen(view, wait, index):
                continue
            if (index, wait) in rows.deliveries:
                continue
            if self.mode(wait) == "one":
                if event.claim is not None:
                    continue
                rows.events[index] = event._replace(claim=wait)
            rows.deliveries[index, wait] = "new"
            return

    def refuses(self, wait: Wait, event: int) -> bool:
        """The answer does not fit."""
        return self.mode(wait) == "task" and event == 0

    def seen(self, state: State, wait: Wait, event: int) -> bool:
        """An earlier wait of the run has consumed it."""
        if not self.rule("an event is not matched again by a later wait of its run"):
            return False
        return any(other[0] == wait[0] and found == event for other, found in state.matched)

    def mode(self, wait: Wait) -> Mode:
        """Of the wait."""
        return self.scenario.programs[wait[0]][wait[1]]

    def with_run(self, index: int, run: Run) -> State:
        """The state with another run."""
        return replace(self.state, runs=_put(self.state.runs, index, run))


def _put(values: tuple[_T, ...], index: int, value: _T) -> tuple[_T, ...]:
    return (*values[:index], value, *values[index + 1 :])


def _sorted(values: dict[_K, _V]) -> tuple[tuple[_K, _V], ...]:
    return tuple(sorted(values.items(), key=repr))
