"""A run's whole state as data: serialisable at every moment, so that continue-as-new works anywhere.

Values are frozen and shared; `step` gives a new `State` and leaves the old one as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from workflows_core.errors import ErrorCategory, Failure, StepFailed
from workflows_core.interpreter.bindings import Binding, BindingTable, bindings_of
from workflows_core.interpreter.correlation import MAX_KEY_BYTES
from workflows_core.interpreter.outbox import Outbox
from workflows_core.interpreter.scopes import Scopes
from workflows_core.wire.records import WaitRecord

SEMANTICS_VERSION = 2
"""Meaning of the authored language that runs begin with in this build; a run keeps the one it began with."""

SUPPORTED_SEMANTICS: frozenset[int] = frozenset({1, 2})
"""What this build executes. A new meaning comes in two releases: one that executes it, then one that begins with it."""

FILTERS_NEED_VALUES = 2
"""From this meaning on, a filter of a wait whose value is missing fails the step; before, it was held against null."""

MAILS_KEEP_ANSWERS = 2
"""From this meaning on, e-mails are read by `email_bodies`; before, by `former_bodies`."""

PendingKind = Literal[
    "action", "time", "event", "launch", "quota", "retry", "block", "try", "catch", "loop", "while", "parallel"
]

BLOCK_KINDS: frozenset[PendingKind] = frozenset({"block", "try", "catch", "loop", "while", "parallel"})
"""What waits for frames below it, and for no answer from outside."""


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Which run of which definition this is; never changes."""

    run_id: str
    tenant: str
    workflow_id: str
    workflow_version: int
    definition_hash: str
    trigger_type: str | None


class Pending(NamedTuple):
    """What the current step of a frame waits for.

    Attributes:
        kind: `action` an action's end, `time` and `event` a wait (also for an answer, or for a child's end),
            `launch` the start of a child, `quota` an action whose tenant has no steps left, `retry` the next attempt;
            the others are steps that wait for steps inside them: `block` is a chosen branch.
        command_id: Name of the command whose answer ends it.
        attempt: Authored attempt of the step, from 1.
        started_at: When the step began, milliseconds since the epoch.
        due_at: When its timer fires, if it has one.
        call: For `action`: action_id, action_version, idempotency_key, authored_key, input.
        wait: For `time` and `event`: the wait's row.
        progress: What a loop, a catch or a call of a child remembers.
        call_bytes: Length in JSON of what a call is given, for `action` (and its `quota`) and `launch`.
    """

    kind: PendingKind
    command_id: str
    attempt: int
    started_at: int
    due_at: int | None = None
    call: Mapping[str, Any] | None = None
    wait: WaitRecord | None = None
    progress: Mapping[str, Any] | None = None
    call_bytes: int = 0

    @property
    def remembered(self) -> Mapping[str, Any]:
        """The progress; empty where there is none."""
        return self.progress or {}

    def remembering(self, **changes: Any) -> Pending:
        """With more progress, of a step that waits for the steps inside it."""
        progress = {**self.remembered, **changes}
        return Pending(self.kind, self.command_id, self.attempt, self.started_at, progress=progress)


class Frame(NamedTuple):
    """An open list of steps.

    Attributes:
        path: Path of the list with iteration indices, such as `root.steps[0].then.steps`; its name.
        block: The same path without iteration indices: the plan's name for the list.
        parent: Path of the enclosing frame, None for the root.
        position: Of the current step in the list.
        pending: What the current step waits for; None when it can run, or when the list is at its end.
        binding: What only the steps of this list and below see: the item of a loop, for instance.
    """

    path: str
    block: str
    parent: str | None
    position: int = 0
    pending: Pending | None = None
    binding: Binding | None = None

    @property
    def step_path(self) -> str:
        """Path of the current step."""
        return f"{self.path}[{self.position}]"

    def waiting(self, pending: Pending) -> Frame:
        """With the current step waiting for something."""
        return Frame(self.path, self.block, self.parent, self.position, pending, self.binding)

    def at_next(self) -> Frame:
        """With the current step done."""
        return Frame(self.path, self.block, self.parent, self.position + 1, None, self.binding)

    @property
    def at_work(self) -> Pending:
        """What the current step waits for.

        Raises:
            StepFailed: It waits for nothing: the state is not that of the plan.
        """
        if self.pending is None:
            message = f"{self.step_path} has ended, or has not begun"
            raise StepFailed(Failure(ErrorCategory.INTERPRETER_CORRUPTION, message))
        return self.pending


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the run ended; decided once."""

    status: Literal["SUCCEEDED", "FAILED", "CANCELED"]
    at: int
    failure: Failure | None = None
    result: Any = None


@dataclass(frozen=True, slots=True)
class Undo:
    """A completed step that has steps to undo it, with what the loops around it had bound, outermost first."""

    step_path: str
    block: str
    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class State:
    """Everything about a run.

    Attributes:
        max_key_bytes: Of the correlation key of a wait that opens; None in executions that began when nobody looked.
        steps_run: Steps and loop passes of this execution.
        scope_bytes: What payload, variables, loops, open waits and steps to be undone hold, in bytes of JSON; what was
            overwritten may count still.
        undo: What compensation would run, oldest first.
        ending: The outcome that is decided while compensation still runs.
        effort: What the expressions of the last `step` may have cost; not part of what is carried on.
        tries_answers: Whether a task that opens tries all answers that came before it, and not the first one only; not
            part of what is carried on either, since each history says it.
    """

    identity: RunIdentity
    engine: str
    seed: int
    started_at: int
    scopes: Scopes
    frames: Mapping[str, Frame]
    semantics: int = SEMANTICS_VERSION
    max_key_bytes: int | None = MAX_KEY_BYTES
    generation: int = 0
    steps_run: int = 0
    current_path: str | None = None
    outbox: Outbox = field(default_factory=Outbox)
    kept_events: tuple[Mapping[str, Any], ...] = ()
    consumed_events: tuple[str, ...] = ()
    dropped_events: int = 0
    scope_bytes: int = 0
    undo: tuple[Undo, ...] = ()
    ending: Outcome | None = None
    outcome: Outcome | None = None
    effort: int = field(default=0, compare=False)
    tries_answers: bool = field(default=False, compare=False)

    @property
    def runnable(self) -> bool:
        """True while a step can run without any event; `step` was told to stop before it."""
        return any(f.pending is None for f in self.frames.values())

    def awaits(self, command_id: str) -> bool:
        """True while the answer to this command is of interest."""
        return any(f.pending is not None and f.pending.command_id == command_id for f in self.frames.values())

    def open_waits(self) -> list[WaitRecord]:
        """The waits open now, by step path."""
        return [f.pending.wait for f in self.frames.values() if f.pending is not None and f.pending.wait is not None]

    def pending(self, *kinds: PendingKind) -> list[tuple[Frame, Pending]]:
        """Frames that wait for one of these."""
        return [(f, f.pending) for f in self.frames.values() if f.pending is not None and f.pending.kind in kinds]

    def to_checkpoint(self) -> dict[str, Any]:
        """What continue-as-new carries, JSON-ready; `steps_run` starts again."""
        return self._to_json(self.generation + 1, self.outbox)

    def to_copy(self) -> dict[str, Any]:
        """For whoever goes on from here beside the run (`from_checkpoint` reads it): nothing of it is ever written."""
        copy = self._to_json(self.generation, Outbox())
        # Of events that no wait has taken nothing is evaluated.
        return {**copy, "stepsRun": self.steps_run, "keptEvents": [], "consumedEvents": []}

    def _to_json(self, generation: int, outbox: Outbox) -> dict[str, Any]:
        return {
            "identity": asdict(self.identity),
            "engine": self.engine,
            "seed": self.seed,
            "startedAt": self.started_at,
            "semantics": self.semantics,
            "generation": generation,
            **carried(self.scopes, self.frames, self.undo),
            "currentPath": self.current_path,
            "outbox": outbox.to_checkpoint(),
            "keptEvents": [dict(e) for e in self.kept_events],
            "consumedEvents": list(self.consumed_events),
            "droppedEvents": self.dropped_events,
            "scopeBytes": self.scope_bytes,
            "ending": None if self.ending is None else _outcome_json(self.ending),
            **({} if self.max_key_bytes is None else {"maxKeyBytes": self.max_key_bytes}),
        }

    @classmethod
    def from_checkpoint(cls, value: Mapping[str, Any]) -> State:
        """Inverse of `to_checkpoint`; takes the form of earlier builds too, which stands in recorded histories."""
        bindings = bindings_of(value.get("bindings", ()))
        frames = [_frame_of(f, bindings) for f in value["frames"]]
        ending = value.get("ending")
        return cls(
            identity=RunIdentity(**value["identity"]),
            engine=value["engine"],
            seed=value["seed"],
            started_at=value["startedAt"],
            semantics=value["semantics"],
            max_key_bytes=value.get("maxKeyBytes"),
            generation=value["generation"],
            scopes=Scopes.from_json(value["scopes"]),
            frames={f.path: f for f in frames},
            steps_run=value.get("stepsRun", 0),
            current_path=value["currentPath"],
            outbox=Outbox.from_checkpoint(value["outbox"]),
            kept_events=tuple(value["keptEvents"]),
            consumed_events=tuple(value["consumedEvents"]),
            dropped_events=value["droppedEvents"],
            scope_bytes=value.get("scopeBytes", 0),
            undo=tuple(_undo_of(u, bindings) for u in value.get("undo", ())),
            ending=None if ending is None else _outcome_of(ending),
        )


def carried(scopes: Scopes, frames: Mapping[str, Frame], undo: Sequence[Undo]) -> dict[str, Any]:
    """The part of a checkpoint that grows with what the author's steps do, JSON-ready."""
    table = BindingTable()
    return {
        "scopes": scopes.to_json(),
        "frames": [_frame_json(f, table) for f in frames.values()],
        "undo": [
            {"stepPath": u.step_path, "block": u.block, "bindings": [table.number(one) for one in u.bindings]}
            for u in undo
        ],
        "bindings": table.entries,
    }


def _frame_json(frame: Frame, table: BindingTable) -> dict[str, Any]:
    return {
        "path": frame.path,
        "block": frame.block,
        "parent": frame.parent,
        "index": frame.position,
        "pending": None if frame.pending is None else _pending_json(frame.pending),
        "binding": None if frame.binding is None else table.number(frame.binding),
    }


def _pending_json(pending: Pending) -> dict[str, Any]:
    values = pending._asdict().items()
    return {name: value for name, value in values if value is not None and (name != "call_bytes" or value)}


def _frame_of(value: Mapping[str, Any], bindings: Sequence[Binding]) -> Frame:
    pending, number = value["pending"], value.get("binding")
    return Frame(
        path=value["path"],
        block=value["block"],
        parent=value["parent"],
        position=value["index"],
        pending=None if pending is None else Pending(**pending),
        binding=_earlier(value) if number is None else bindings[number],
    )


def _undo_of(value: Mapping[str, Any], bindings: Sequence[Binding]) -> Undo:
    if "step_path" in value:
        binding = _earlier({"local": value["local"], "itemVars": value["item_vars"]})
        return Undo(value["step_path"], value["block"], () if binding is None else (binding,))
    return Undo(value["stepPath"], value["block"], tuple(bindings[number] for number in value["bindings"]))


def _earlier(value: Mapping[str, Any]) -> Binding | None:
    """The binding as earlier builds wrote it, in each frame."""
    item_vars = value.get("itemVars", {})
    local = {name: bound for name, bound in value.get("local", {}).items() if name not in item_vars}
    return Binding(local, item_vars) if local or item_vars else None


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    failure = None if outcome.failure is None else outcome.failure.to_json()
    return {"status": outcome.status, "at": outcome.at, "failure": failure, "result": outcome.result}


def _outcome_of(value: Mapping[str, Any]) -> Outcome:
    failure = None if value["failure"] is None else Failure.from_json(value["failure"])
    return Outcome(value["status"], value["at"], failure, value["result"])
