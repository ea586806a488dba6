"""A run driven by hand: the interpreter with nothing around it."""

from __future__ import annotations

from typing import Any

from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import Failure
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter.compile import compile_plan
from workflows_core.interpreter.messages import (
    ActionStepFailed,
    ActionSucceeded,
    Begin,
    CancelRequested,
    Command,
    Event,
    EventReceived,
    RunAction,
    StartTimer,
    TimerFired,
)
from workflows_core.interpreter.state import SEMANTICS_VERSION, RunIdentity, State
from workflows_core.interpreter.step import initial_state, step
from workflows_core.wire.messages import EventSignal


def document(*steps: dict[str, Any]) -> dict[str, Any]:
    """A definition of these steps; ids are given where absent."""
    numbered = [{"id": f"s{index}", **one} for index, one in enumerate(steps)]
    return {"id": "wf", "version": 1, "name": "wf", "payloadSchemaRef": "payload.Test.v1", "steps": numbered}


def act(save_as: str | None = None, mapping: dict[str, Any] | None = None, **step_fields: Any) -> dict[str, Any]:
    """An `action.call` of `test.act@1`."""
    config: dict[str, Any] = {"actionId": "test.act", "version": 1, "inputMapping": mapping or {}}
    if save_as is not None:
        config["saveAs"] = save_as
    return {"type": "action.call", "config": config, **step_fields}


def wait(name: str = "PAID", key: str = "payload.id", **config: Any) -> dict[str, Any]:
    """An `event.wait`."""
    return {"type": "event.wait", "config": {"eventName": name, "correlationKey": {"$expr": key}, **config}}


def counted(passes: int, *before: dict[str, Any], **assigned: str) -> dict[str, Any]:
    """A `control.while` of so many passes: other steps first, then it counts in `vars.n` and assigns more variables."""
    assign = {"vars.n": {"$expr": "coalesce(vars.n, 0) + 1"}}
    assign |= {f"vars.{name}": {"$expr": source} for name, source in assigned.items()}
    count = {"id": "count", "type": "transform.assign", "config": {"assign": assign}}
    condition = {"$expr": f"coalesce(vars.n, 0) < {passes}"}
    body = [*before, count]
    return {"id": "again", "type": "control.while", "condition": condition, "maxIterations": passes, "body": body}


class Run:
    """Holds the state and the commands that wait for an answer."""

    def __init__(
        self,
        *steps: dict[str, Any],
        payload: Any = None,
        definition: dict[str, Any] | None = None,
        semantics: int = SEMANTICS_VERSION,
    ) -> None:
        self.plan = compile_plan(parse_definition({**document(*steps), **(definition or {})}), JlensEngine())
        identity = RunIdentity("run-1", "acme", "wf", 1, "hash", None)
        self.state: State = initial_state(
            self.plan,
            identity,
            payload=payload if payload is not None else {"id": "k1"},
            meta={},
            started_at=0,
            semantics=semantics,
        )
        self.commands: list[Command] = []
        self.apply(Begin(1_000))

    def apply(self, event: Event) -> tuple[Command, ...]:
        """Applies an event; gives what it commands."""
        self.state, commands = step(self.plan, self.state, event)
        self.commands.extend(commands)
        return commands

    @property
    def call(self) -> RunAction:
        """The latest call."""
        return [c for c in self.commands if isinstance(c, RunAction)][-1]

    @property
    def timer(self) -> StartTimer:
        """The latest timer."""
        return [c for c in self.commands if isinstance(c, StartTimer)][-1]

    def succeed(self, output: Any, at: int = 2_000) -> None:
        """The latest call gives this."""
        self.apply(ActionSucceeded(self.call.command_id, at, output, 10, recorded=True))

    def fail(self, category: str = "ActionError", at: int = 2_000, recorded: bool = True) -> None:
        """The latest call fails."""
        self.apply(ActionStepFailed(self.call.command_id, at, Failure(category, "broken"), recorded))

    def answer(self, call: Command, output: Any, *, failing: str | None = None, at: int = 2_000) -> None:
        """This call gives this, or fails with a category."""
        assert isinstance(call, RunAction)
        if failing is None:
            self.apply(ActionSucceeded(call.command_id, at, output, 10, recorded=True))
        else:
            self.apply(ActionStepFailed(call.command_id, at, Failure(failing, "broken"), recorded=False))

    def fire(self) -> None:
        """The latest timer fires at its time."""
        self.apply(TimerFired(self.timer.command_id, self.timer.due_at))

    def signal(
        self, event_id: str = "e1", name: str = "PAID", key: str | None = "k1", payload: Any = None, **ours: Any
    ) -> None:
        """An event signal arrives."""
        self.apply(EventReceived(EventSignal(event_id, name, key, payload or {}, **ours), 3_000))

    def cancel(self) -> None:
        """The run is asked to end."""
        self.apply(CancelRequested(4_000))

    @property
    def outcome(self) -> str | None:
        """Status of the outcome, if there is one."""
        return None if self.state.outcome is None else self.state.outcome.status

    @property
    def failure(self) -> Failure:
        """The failure of a run that has one."""
        assert self.state.outcome is not None
        assert self.state.outcome.failure is not None
        return self.state.outcome.failure

    def records(self, kind: str = "step") -> list[dict[str, Any]]:
        """What waits to be written."""
        return [dict(e.record) for e in self.state.outbox.entries if e.kind == kind]

    def steps(self) -> list[tuple[str, str]]:
        """Path and status of the steps that wait to be written."""
        return [(r["step_path"], r["status"]) for r in self.records()]
