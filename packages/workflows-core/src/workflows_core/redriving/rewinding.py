"""The state of a run just before one of its steps: the interpreter again, as that run, with what it got and when.

Expressions see the old run's id, draw with its seed and have its times, so that whatever was sent out in its name is
what the new run goes on with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from workflows_core.definitions.spelling import nearest
from workflows_core.errors import Problem, Refused
from workflows_core.expressions.reading import json_bytes
from workflows_core.interpreter.compensation import UNDOING
from workflows_core.interpreter.messages import Begin, Event
from workflows_core.interpreter.outbox import Entry, Outbox
from workflows_core.interpreter.plan import Plan
from workflows_core.interpreter.scopes import meta_of_trigger
from workflows_core.interpreter.state import BLOCK_KINDS, SEMANTICS_VERSION, Frame, RunIdentity, State
from workflows_core.interpreter.step import initial_state, step
from workflows_core.redriving.draws import draws
from workflows_core.redriving.recorded import Recorded, described, milliseconds, what_of

_MAX_ROWS_BYTES = 256 * 1024
"""Of the rows that a new run begins with: they travel with its start and with one write, of 2 MB at most."""

_LOOK_AHEAD = 50
"""Steps behind an answer in which the time of its turn is looked for: as many as a turn has."""


@dataclass(frozen=True, slots=True)
class Rewound:
    """Where the new run begins.

    Attributes:
        state: The whole state. The step asked for runs next, and beside it those that were open when it began.
        step_path: Path of that step.
        kept: Paths of the steps whose results are kept, in their order.
    """

    state: State
    step_path: str
    kept: tuple[str, ...]


def rewind(plan: Plan, recorded: Recorded, identity: RunIdentity, wanted: str) -> Rewound:
    """The state before a step, named by its path or its id (its first visit), for a new run of this identity.

    Raises:
        Refused: `REDRIVE_STEP_NOT_REACHED`: there is no such step, the run never came there, or what led there is not
            recorded; `REDRIVE_STEP_CHANGED`: what led there is not in the plan.
    """
    _require_known(plan, identity.workflow_version, wanted)
    lineage = recorded.lineage
    state: State | None = None
    records: dict[str, Mapping[str, Any]] = {}
    for number, run in enumerate(lineage, 1):
        own = _beginning(plan, run, run.identity(identity.tenant))
        passage = _Passage(plan, identity.workflow_version, run, wanted, lineage[number:], records)
        state = passage.through(own if state is None else _handed_over(state, own, records))
        frame, wanted = _next(plan, state), passage.wanted
        if frame is not None and passage.is_wanted(frame):
            new = replace(_beginning(plan, recorded, identity), semantics=SEMANTICS_VERSION)
            state = _handed_over(state, new, records)
            outbox = Outbox(_rows(records, recorded.run.run_id), waits_written=None)
            state = replace(state, outbox=outbox, generation=-1)
            return Rewound(state, frame.step_path, tuple(records))
    raise AssertionError("a passage ends at its step, or is refused")


class _Passage:
    """The part of a lineage that one run did, up to the step asked for or to where the next run took over."""

    def __init__(
        self,
        plan: Plan,
        version: int,
        run: Recorded,
        wanted: str,
        later: tuple[Recorded, ...],
        records: dict[str, Mapping[str, Any]],
    ) -> None:
        self.plan = plan
        self.version = version
        self.run = run
        self.wanted = wanted
        self.later = later
        self.records = records
        self.at = milliseconds(run.run.started_at)
        self.continued = False
        """Whether the run had gone on as another execution, which counts its steps anew."""

    def is_wanted(self, frame: Frame) -> bool:
        """Whether the frame stands at the step asked for, and no later run began that anew."""
        return frame.step_path == self.wanted and not any(run.began(frame.step_path) for run in self.later)

    def through(self, state: State) -> State:
        """Goes on from a state until one of the two steps is next.

        Raises:
            Refused: The run did not come to either, or there is no telling how.
        """
        taken_over_at = self.later[0].began_at if self.later else None
        while state.outcome is None:
            frame = _next(self.plan, state)
            if frame is not None:
                if self.plan.blocks[frame.block][frame.position].id == self.wanted:
                    self.wanted = frame.step_path
                if self.is_wanted(frame) or frame.step_path == taken_over_at:
                    return state
                self._require_same(frame)
            if state.runnable:
                state = self._moved(state, Begin(self.at), max_steps=1, look_ahead=1)
                continue
            event = self._earliest(state)
            if event is None:
                raise self._not_reached(self._gap(state))
            state = self._moved(state, event, max_steps=0, look_ahead=_LOOK_AHEAD)
        if self.wanted not in self.run.steps:
            raise self._not_reached("the run ended without it")
        raise self._not_reached(
            "gone through again, the run does not come to it: this version leads elsewhere, or it was cancelled in the"
            " millisecond in which it began; begin with a step in front of it"
        )

    def _earliest(self, state: State) -> Event | None:
        """Of what open steps got, what came first."""
        answers = [
            self.run.answer(frame, pending, self.plan.blocks[frame.block][frame.position])
            for frame, pending in state.pending("action", "launch", "time", "event", "retry")
        ]
        return min((one for one in answers if one is not None), key=lambda one: one.at, default=None)

    def _moved(self, state: State, event: Event, *, max_steps: int, look_ahead: int) -> State:
        ahead, _ = step(self.plan, state, event, max_steps=look_ahead)
        told = self.run.told(state, ahead)
        self.at = event.at if told is None else told
        event = replace(event, at=self.at)
        following, _ = step(self.plan, state, event, max_steps=max_steps)
        for entry in following.outbox.entries:
            if entry.kind == "step":
                path = entry.record["step_path"]
                self.records[path] = self.run.as_written(entry.record)
                self.continued |= self.run.generations.get(path, 0) > 0
        if self.continued:
            self._require_no_draws(state)
        return replace(following, outbox=Outbox())

    def _require_no_draws(self, state: State) -> None:
        """Refuses steps whose draws depend on where in the run an execution began, which is not recorded."""
        begins = _next(self.plan, state)
        for frame in state.frames.values():
            if frame.pending is None and frame is not begins:
                continue
            if draws(self.plan.blocks[frame.block][frame.position], begun=frame.pending is not None):
                raise self._not_reached(
                    f"{frame.step_path} draws at random after the run had gone on as another execution, and what it"
                    " drew is not recorded"
                )

    def _require_same(self, frame: Frame) -> None:
        """Refuses a step whose results would be those of another one."""
        path, planned = frame.step_path, self.plan.blocks[frame.block][frame.position]
        run, was = self.run.run, self.run.was_at(path, planned)
        if was is None and (path in self.run.steps or run.workflow_version == self.version):
            return
        there = described(planned.id, planned.type, what_of(planned))
        if was is None and all(one in self.records or UNDOING in one for one in self.run.steps):
            raise self._not_reached(f"the run ended before {path}, which is {there} in version {self.version}")
        message = (
            f"{path} is {there} in version {self.version}, and run {run.run_id} of version {run.workflow_version} had"
            f" {was or 'begun no step'} there: in front of {self.wanted!r} both must have the same steps"
        )
        raise Refused.one("REDRIVE_STEP_CHANGED", message, path)

    def _gap(self, state: State) -> str:
        lost = [f.step_path for f, _ in state.pending("action") if self.run.lacks_output(f.step_path)]
        if lost:
            return (
                f"the output of {lost[0]} is not recorded with it, since a call with the same idempotency key was first"
            )
        return f"nothing is recorded of what came after {state.current_path}"

    def _not_reached(self, why: str) -> Refused:
        shown = ", ".join(list(self.run.steps)[:20]) or "none"
        message = f"the run cannot be taken to step {self.wanted!r}: {why}; its steps are {shown}"
        return Refused.one("REDRIVE_STEP_NOT_REACHED", message, "--from")


def _require_known(plan: Plan, version: int, wanted: str) -> None:
    """Refuses what is no path and no step's id; a path is one of a visit, which only the run knows."""
    ids = {planned.id for block in plan.blocks.values() for planned in block}
    if wanted in ids or wanted.startswith("root."):
        return
    message = f"version {version} has no step with the id {wanted!r}, and a path begins with `root.`"
    problem = Problem("REDRIVE_STEP_NOT_REACHED", message, "--from", suggestion=nearest(wanted, ids))
    raise Refused([problem])


def _rows(records: Mapping[str, Mapping[str, Any]], run_id: str) -> tuple[Entry, ...]:
    """What the new run writes of the kept steps: of very many the last ones, and where the others are."""
    entries: list[Entry] = []
    left = _MAX_ROWS_BYTES
    for record in reversed(list(records.values())):
        left -= json_bytes(record)
        if left < 0:
            break
        entries.append(Entry.waiting("step", record, 300))
    others = len(records) - len(entries)
    if others:
        message = f"{others} earlier step(s) are kept as well: run {run_id} shows them"
        line = {
            "level": "INFO",
            "message": message,
            "step_path": None,
            "context_json": None,
            "at": record["started_at"],
        }
        entries.append(Entry.waiting("log", line, 300))
    return tuple(reversed(entries))


def _beginning(plan: Plan, recorded: Recorded, identity: RunIdentity) -> State:
    """Of the lineage's input, for a run of this identity, with the meaning that the recorded run had."""
    run = recorded.lineage[0].run
    return initial_state(
        plan,
        identity,
        payload=run.input_json,
        meta=meta_of_trigger(run.trigger_metadata_json),
        started_at=milliseconds(run.started_at),
        semantics=recorded.run.runtime_semantics_version,
    )


def _handed_over(state: State, to: State, records: dict[str, Mapping[str, Any]]) -> State:
    """The state for the next run: under its identity, and with the steps that are open begun anew, by it.

    What they asked for was the old run's: its calls, its children, its waits.
    """
    frames: dict[str, Frame] = {}
    for path, frame in state.frames.items():
        is_open = frame.pending is not None and frame.pending.kind not in BLOCK_KINDS
        frames[path] = frame._replace(pending=None) if is_open else frame
        if is_open:
            records.pop(frame.step_path, None)
    return replace(
        state,
        identity=to.identity,
        semantics=to.semantics,
        seed=to.seed,
        frames=frames,
        generation=0,
        steps_run=0,
    )


def _next(plan: Plan, state: State) -> Frame | None:
    """The frame whose step runs next; None when the run waits, or a list is at its end."""
    frame = next((f for f in state.frames.values() if f.pending is None), None)
    return None if frame is None or frame.position >= len(plan.blocks.get(frame.block, ())) else frame
