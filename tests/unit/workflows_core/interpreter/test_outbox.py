"""No record is lost and none is forgotten, whatever becomes of the writes that carry them."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from harness.interpreted import Run, wait
from workflows_core.interpreter.outbox import MAX_BYTES, MAX_ENTRIES, Entry, Outbox
from workflows_core.interpreter.writes import has_new_waits, take_write, write_is_due


class OutboxMachine(RuleBasedStateMachine):
    """Adds records, takes writes, and lets each write succeed or fail in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()
        self.added: set[int] = set()
        self.stored: set[int] = set()
        self.in_flight: dict[int, set[int]] = {}
        self.number = 0

    @rule(kind=st.sampled_from(["log", "consumed", "closed", "step"]))
    def add(self, kind: str) -> None:
        self.number += 1
        record = {"number": self.number, "step_path": f"p{self.number}", "visit": 1}
        self.outbox = self.outbox.add([Entry.waiting(kind, record, 10)])  # type: ignore[arg-type]
        self.added.add(self.number)

    @rule()
    def take(self) -> None:
        self.outbox, taken = self.outbox.take("RUNNING", None)
        records = [*taken.steps, *taken.logs, *taken.consumed, *taken.closed]
        self.in_flight[self.outbox.sequence] = {r["number"] for r in records}

    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        if self.in_flight:
            sequence = data.draw(st.sampled_from(sorted(self.in_flight)))
            self.stored |= self.in_flight.pop(sequence)
            self.outbox = self.outbox.acknowledge(sequence)

    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        if self.in_flight:
            sequence = data.draw(st.sampled_from(sorted(self.in_flight)))
            lost = self.in_flight.pop(sequence) - self.stored - set().union(*self.in_flight.values())
            self.outbox = self.outbox.release(sequence)
            _, taken = self.outbox.take("RUNNING", None)
            again = {r["number"] for r in [*taken.steps, *taken.logs, *taken.consumed, *taken.closed]}
            assert lost <= again, "what a failed write carried goes with the next one, not only with the last"
            own = {r["number"] for r in [*taken.steps, *taken.logs]}
            assert own.isdisjoint(set().union(*self.in_flight.values())), (
                "what another write carries is not its to give"
            )

    @invariant()
    def nothing_is_lost(self) -> None:
        held = {e.record["number"] for e in self.outbox.entries}
        assert self.added <= self.stored | held

    @invariant()
    def the_final_write_has_all_that_is_not_stored(self) -> None:
        _, taken = self.outbox.take("SUCCEEDED", frozenset(), everything=True)
        final = {r["number"] for r in [*taken.steps, *taken.logs, *taken.consumed, *taken.closed]}
        assert self.added - self.stored <= final

    @invariant()
    def every_write_has_what_was_consumed(self) -> None:
        _, taken = self.outbox.take("RUNNING", None)
        told = {r["number"] for r in [*taken.consumed, *taken.closed]}
        held = {e.record["number"] for e in self.outbox.entries if e.kind in ("consumed", "closed")}
        assert told == held

    @invariant()
    def a_checkpoint_keeps_it(self) -> None:
        carried = Outbox.from_checkpoint(json.loads(json.dumps(self.outbox.to_checkpoint())))
        assert [e.record for e in carried.entries] == [e.record for e in self.outbox.entries]
        assert carried.uncarried == len(carried.entries)


OutboxMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestOutbox = OutboxMachine.TestCase


def test_a_newer_record_of_the_same_visit_replaces_one_that_no_write_carries() -> None:
    first = {"step_path": "root.steps[0]", "visit": 1, "status": "STARTED"}
    second = {**first, "status": "SUCCEEDED"}
    begun, ended = Entry.waiting("step", first, 1), Entry.waiting("step", second, 1)
    for outbox in (Outbox().add([begun]).add([ended]), Outbox().add([begun, ended])):
        _, taken = outbox.take("RUNNING", None)
        assert taken.steps == [second]


def test_a_row_on_its_way_stays_beside_a_newer_one() -> None:
    first = {"step_path": "root.steps[0]", "visit": 1, "status": "STARTED"}
    second = {**first, "status": "SUCCEEDED"}
    on_its_way, _ = Outbox().add([Entry.waiting("step", first, 1)]).take("RUNNING", None)
    outbox = on_its_way.add([Entry.waiting("step", second, 1)])
    assert [e.record for e in outbox.entries] == [first, second]
    # It will never arrive: it waits for another write, until a newer one of its step comes.
    outbox = outbox.release(outbox.sequence)
    _, taken = outbox.add([Entry.waiting("step", second, 1)]).take("RUNNING", None)
    assert taken.steps == [second]


def test_a_full_outbox_asks_for_a_write() -> None:
    outbox = Outbox()
    for number in range(MAX_ENTRIES):
        assert not outbox.is_full
        outbox = outbox.add([Entry.waiting("step", {"step_path": f"p{number}", "visit": 1}, 1)])
    assert outbox.is_full
    outbox, _ = outbox.take("RUNNING", None)
    assert not outbox.is_full
    outbox = outbox.add([Entry.waiting("log", {"message": "many bytes"}, MAX_BYTES - 1)])
    assert not outbox.is_full
    assert outbox.add([Entry.waiting("log", {"message": "one more"}, 1)]).is_full


def test_what_goes_with_every_write_is_told_when_any_that_had_it_arrived() -> None:
    outbox, _ = Outbox().add([Entry.waiting("consumed", {"event_id": "e1"}, 1)]).take("RUNNING", None)
    outbox, second = outbox.take("RUNNING", None)
    assert second.consumed == [{"event_id": "e1"}]
    assert outbox.acknowledge(outbox.sequence).entries == ()
    first, _ = Outbox().add([Entry.waiting("consumed", {"event_id": "e1"}, 1)]).take("RUNNING", None)
    assert first.acknowledge(first.sequence).entries == ()
    assert first.acknowledge(first.sequence - 1).entries == first.entries


def test_a_run_whose_write_will_never_arrive_tells_of_its_waits_again() -> None:
    run = Run(wait())
    state, _ = take_write(run.state, 2_000)
    arrived = replace(state, outbox=state.outbox.acknowledge(state.outbox.sequence))
    assert not write_is_due(arrived, 3_000)
    lost = replace(arrived, outbox=arrived.outbox.release(state.outbox.sequence))
    assert write_is_due(lost, 3_000)
    assert has_new_waits(lost)
    assert (lost.outbox.status_written, arrived.outbox.status_written) == (None, "WAITING")
