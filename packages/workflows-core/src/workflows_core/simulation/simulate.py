"""Runs a definition with no server, no side effect and no waiting: the same `step` that Temporal drives.

Actions that are pure and short run for real unless a fixture answers for them; every other action is answered by its
fixture, or by a placeholder of its output's shape. Waits are answered by fixtures at once; then whatever timer is due
first fires, so that what runs side by side comes in the order of a run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from workflows_core.actions.action import Effect
from workflows_core.actions.answers import answer_check
from workflows_core.actions.call import validate_input
from workflows_core.actions.registry import ActionRegistry, RegisteredAction
from workflows_core.definitions.model import Definition
from workflows_core.errors import ErrorCategory, Failure, Refused, StepFailed
from workflows_core.execution.action_calls import MAX_INPUT_BYTES, call_body, input_too_large
from workflows_core.execution.handlers import Surroundings, call_handler
from workflows_core.execution.policy import RunPolicy
from workflows_core.expressions.engine import ExpressionEngine
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter.compile import compile_plan
from workflows_core.interpreter.matching import EventFacts, mismatch
from workflows_core.interpreter.messages import (
    ActionStepFailed,
    ActionSucceeded,
    Begin,
    CancelAction,
    CancelTimer,
    ChildLaunched,
    Command,
    Event,
    EventReceived,
    LaunchChild,
    RunAction,
    StartTimer,
    TimerFired,
)
from workflows_core.interpreter.outbox import Outbox
from workflows_core.interpreter.plan import EventWaitStep, HumanTaskStep, PlanStep
from workflows_core.interpreter.state import Pending, RunIdentity, State
from workflows_core.interpreter.step import initial_state, step
from workflows_core.simulation.explaining import ExplainingEngine
from workflows_core.simulation.fixtures import Fixtures, TimedOut, placeholder
from workflows_core.simulation.report import Report, Status, TraceEntry
from workflows_core.storage.json_text import payload_fault
from workflows_core.wire.compact import compact_bytes
from workflows_core.wire.messages import EventSignal

RUN_ID = "simulated-run"
_POLICY = RunPolicy()
_OF_FIELDS = ("type", "required", "additionalProperties", "dependentRequired")
"""Keywords over an object that look at which fields it has, and at no value."""

_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999: an action is told the time as a date."""

_Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SimulationLimits:
    """Bounds of one simulation; over one it fails with code `SIMULATION_LIMIT`."""

    max_steps: int = 5_000
    max_loop_items: int = 1_000
    max_seconds: float = 30.0


class _Over(Exception):
    """A limit is reached."""


async def simulate(
    definition: Definition,
    registry: ActionRegistry,
    *,
    payload: Any = None,
    fixtures: Fixtures | None = None,
    now_ms: int = 0,
    explain: bool = False,
    limits: SimulationLimits | None = None,
) -> Report:
    """Simulates a run of a definition that publishing would take.

    Args:
        definition: The parsed document.
        registry: The actions; one that is not there is answered by its fixture or `{}`, with a warning.
        payload: JSON value that the run starts with.
        fixtures: Answers of actions, waits, tasks and children.
        now_ms: When the run starts, milliseconds since the epoch.
        explain: Say which values decided each expression.
        limits: Bounds.

    Raises:
        Refused: The definition cannot be planned, `LAUNCH_INVALID` for a payload that no run is started with, or
            `FIXTURES_INVALID` for answers that its steps cannot get.
    """
    fault = payload_fault(payload)
    if fault is not None:
        raise Refused.one("LAUNCH_INVALID", fault, "payload")
    fixtures = fixtures or Fixtures({})
    fixtures.require_fitting(definition)
    engine: ExpressionEngine = ExplainingEngine(JlensEngine()) if explain else JlensEngine()
    simulation = _Simulation(definition, registry, fixtures, engine, limits or SimulationLimits())
    return await simulation.run(payload, now_ms)


class _Simulation:
    def __init__(
        self,
        definition: Definition,
        registry: ActionRegistry,
        fixtures: Fixtures,
        engine: ExpressionEngine,
        limits: SimulationLimits,
    ) -> None:
        self.definition = definition
        self.registry = registry
        self.fixtures = fixtures
        self.engine = engine
        self.limits = limits
        self.plan = compile_plan(definition, engine, answer_check)
        self.commands: list[Command] = []
        self.trace: dict[str, TraceEntry] = {}
        self.invocations: list[dict[str, Any]] = []
        self.warnings: dict[str, None] = {}
        self.refused: set[str] = set()
        """Commands of waits whose fixture was not taken: they stay open."""
        self.timing_out: set[str] = set()
        """Commands of waits whose fixture lets them time out, once nothing else is due before."""
        self.unknown: dict[str, Failure] = {}
        """Of calls at most once that may have had their effect: no run repeats them."""
        self.steps = 0
        self.until = time.monotonic() + limits.max_seconds

    async def run(self, payload: Any, now_ms: int) -> Report:
        identity = RunIdentity(RUN_ID, "simulation", self.definition.id, self.definition.version, "", None)
        state = initial_state(self.plan, identity, payload=payload, meta={}, started_at=now_ms)
        event: Event | None = Begin(now_ms)
        at, limit = now_ms, None
        try:
            while event is not None and state.outcome is None:
                at = event.at
                state = self.apply(state, event)
                event = await self.following(state, at)
        except _Over as over:
            limit = str(over)
        return self.report(state, limit, at - now_ms)

    def apply(self, state: State, event: Event) -> State:
        if not _FIRST_MS <= event.at <= _LAST_MS:
            raise _Over("the run's time is not in the years 1 to 9999")
        state, commands = step(self.plan, state, event, max_steps=1)
        self.steps += 1
        if self.steps > self.limits.max_steps:
            raise _Over(f"more than {self.limits.max_steps} steps")
        if time.monotonic() > self.until:
            raise _Over(f"more than {self.limits.max_seconds:g} s")
        for _, pending in state.pending("loop"):
            if len((pending.progress or {})["items"]) > self.limits.max_loop_items:
                raise _Over(f"a loop over more than {self.limits.max_loop_items} items")
        for command in commands:
            if isinstance(command, (CancelTimer, CancelAction)):
                self.commands = [c for c in self.commands if getattr(c, "command_id", "") != command.command_id]
            elif isinstance(command, (RunAction, LaunchChild, StartTimer)):
                self.commands.append(command)
            if isinstance(command, RunAction):
                began = TraceEntry(command.step_path, command.step_id, "action.call", "STARTED", command.attempt)
                self.trace.setdefault(command.step_path, began)
        self.note(state)
        return replace(state, outbox=Outbox())

    def note(self, state: State) -> None:
        """Keeps what the records of this step say."""
        for entry in state.outbox.entries:
            if entry.kind == "step":
                record = entry.record
                found = self.trace.setdefault(
                    record["step_path"],
                    TraceEntry(record["step_path"], record["definition_step_id"], record["step_type"], ""),
                )
                found.status, found.attempt = record["status"], record["attempt"]
                found.output = record["output_json"]
                found.error = record["error_json"] if record["status"] != "SUCCEEDED" else None
            elif entry.kind == "log" and entry.record["level"] in ("WARN", "ERROR"):
                self.warnings[f"{entry.record['step_path'] or 'run'}: {entry.record['message']}"] = None
        if isinstance(self.engine, ExplainingEngine) and (explained := self.engine.take()):
            path = state.current_path or ""
            if path in self.trace:
                self.trace[path].explained.extend(explained)

    async def following(self, state: State, at: int) -> Event | None:
        """What happens next; None when nothing does without an answer from outside."""
        if state.outcome is not None or state.runnable:
            return Begin(at)
        for command in self.commands:
            if isinstance(command, RunAction):
                self.commands.remove(command)
                return await self.answer(command, at)
            if isinstance(command, LaunchChild):
                self.commands.remove(command)
                return ChildLaunched(command.command_id, at)
        for frame, pending in state.pending("event"):
            planned = self.plan.blocks[frame.block][frame.position]
            decided = pending.command_id in self.refused or pending.command_id in self.timing_out
            if decided or (answered := self.fixtures.next(planned.id)) is None:
                continue
            if isinstance(answered[0], TimedOut):
                self.timing_out.add(pending.command_id)
                continue
            wrong = _refusal(planned, pending, answered[0])
            if wrong is None:
                return self.resume(pending, answered[0], at)
            self.refused.add(pending.command_id)
            self.warnings[f"{frame.step_path}: the fixture is not taken: {wrong}"] = None
        due = [c for c in self.commands if isinstance(c, StartTimer) and self.passes(state, c.command_id)]
        if not due:
            return None
        first = min(due, key=lambda timer: timer.due_at)
        self.commands.remove(first)
        return TimerFired(first.command_id, max(at, first.due_at))

    def passes(self, state: State, command_id: str) -> bool:
        """An event's time-out passes only where a fixture says so: else the simulation would never pause."""
        return command_id in self.timing_out or all(p.command_id != command_id for _, p in state.pending("event"))

    def resume(self, pending: Pending, answer: Any, at: int) -> Event:
        wait = pending.wait
        if wait is None:
            raise _Over("a wait without its row")
        if pending.progress is not None and "childRunId" in pending.progress:
            answer = _child_end(answer)
        event_id = f"fixture:{wait['wait_id']}:{self.steps}"
        signal = EventSignal(event_id, wait["event_name"] or "", wait["key"], answer, wait_id=wait["wait_id"])
        return EventReceived(signal, at)

    async def answer(self, command: RunAction, at: int) -> Event:
        if (failed := self.unknown.get(command.step_path)) is not None:
            return ActionStepFailed(command.command_id, at, failed, recorded=False)
        action_id, version = command.call["action_id"], command.call["action_version"]
        self.invocations.append(
            {
                "stepPath": command.step_path,
                "actionId": action_id,
                "version": version,
                "attempt": command.attempt,
                "input": command.call["input"],
            }
        )
        action = self.registry.get(action_id, version)
        output: Any = _too_large(command, action)
        if output is None and action is not None:
            output = _wrong_input(action, command.call["input"])
        if output is None:
            given = self.fixtures.next(command.step_id, action_id)
            output = given[0] if given is not None else await self.without_fixture(command, action, at)
        if isinstance(output, Failure):
            once = action is not None and action.effect is Effect.AT_MOST_ONCE
            if once and output.category == ErrorCategory.UNKNOWN_OUTCOME:
                self.unknown[command.step_path] = output
            return ActionStepFailed(command.command_id, at, output, recorded=False)
        return ActionSucceeded(command.command_id, at, output, compact_bytes(output), recorded=False)

    async def without_fixture(self, command: RunAction, action: RegisteredAction | None, at: int) -> Any:
        key = f"{command.call['action_id']}@{command.call['action_version']}"
        if action is None:
            self.warnings[f"{key} is not known here: its output was taken as {{}}"] = None
            return {}
        if action.effect is not Effect.PURE or not action.short:
            self.warnings[f"{key} was not called: its output is a placeholder; give a fixture"] = None
            return placeholder(action.output_schema)
        call: Any = {"step_path": command.step_path, "attempt": command.attempt, **command.call}
        secrets = _NamedSecrets()
        try:
            return await call_handler(
                action,
                call,
                "simulation",
                RUN_ID,
                secrets,
                Surroundings(now=datetime.fromtimestamp(at / 1000, UTC)),
                max_output_bytes=_POLICY.output_bytes_of(action),
            )
        except StepFailed as error:
            return error.failure

    def report(self, state: State, limit: str | None, virtual_ms: int) -> Report:
        status: Status = "paused-at-wait"
        errors: list[dict[str, Any]] = []
        if limit is not None:
            status, errors = "failed", [{"category": "ValidationError", "code": "SIMULATION_LIMIT", "message": limit}]
        elif state.outcome is not None and state.outcome.failure is not None:
            status, errors = "failed", [state.outcome.failure.to_json()]
        elif state.outcome is not None:
            status = "completed"
        waits = [
            {"stepPath": frame.step_path, "eventName": wait["event_name"], "key": wait["key"]}
            for frame, pending in state.pending("event")
            if (wait := pending.wait) is not None
        ]
        unused = [f"fixture {name!r} answered nothing" for name in self.fixtures.unused()]
        return Report(
            status=status,
            trace=list(self.trace.values()),
            invocations=self.invocations,
            waits=waits if status == "paused-at-wait" else [],
            final_vars=dict(state.scopes.vars),
            final_payload=state.scopes.payload,
            result=None if state.outcome is None else state.outcome.result,
            errors=errors,
            warnings=[*self.warnings, *unused],
            virtual_ms=virtual_ms,
        )


def _refusal(step: PlanStep, pending: Pending, answer: Any) -> str | None:
    """Why the wait does not take what its fixture gives; None when it does."""
    wait = pending.wait
    if wait is None:
        return None
    if isinstance(step, HumanTaskStep):
        return "; ".join(step.check(answer)) or None if step.check is not None else None
    if not isinstance(step, EventWaitStep):
        return None
    keys = () if wait["key"] is None else (wait["key"],)
    return mismatch(EventFacts("fixture", wait["event_name"] or "", keys, answer), wait)


def _too_large(command: RunAction, action: RegisteredAction | None) -> Failure | None:
    """Why a run would not call the action: its input is recorded in the history, unless the action is short."""
    size = 0 if action is not None and action.short else compact_bytes(call_body(command, None))
    return input_too_large(command, size) if size > MAX_INPUT_BYTES else None


def _wrong_input(action: RegisteredAction, value: Any) -> Failure | None:
    """Why the action would refuse its input; of secrets, whose values nobody knows here, nothing is said."""
    secrets: list[_Path] = []
    named = _with_names(value, (), secrets)
    if secrets:
        known = cast(Draft202012Validator, _WithoutSecrets(action.input_validator, secrets))
        action = replace(action, input_validator=known)
    try:
        validate_input(action, named)
    except StepFailed as error:
        return error.failure
    return None


def _with_names(value: Any, path: _Path, secrets: list[_Path]) -> Any:
    """The value with a text in the place of each secret; adds the paths of these."""
    if isinstance(value, dict):
        if set(value) == {"$secret"}:
            secrets.append(path)
            return "secret"
        return {name: _with_names(item, (*path, name), secrets) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_names(item, (*path, index), secrets) for index, item in enumerate(value)]
    return value


class _WithoutSecrets:
    """A validator that leaves out what may depend on the value of a secret."""

    def __init__(self, validator: Draft202012Validator, secrets: Sequence[_Path]) -> None:
        self._validator = validator
        self._around = {path[:length] for path in secrets for length in range(len(path) + 1)}
        self._secrets = frozenset(secrets)

    def iter_errors(self, value: Any) -> Iterator[ValidationError]:
        return (error for error in self._validator.iter_errors(value) if not self._depends(error))

    def _depends(self, error: ValidationError) -> bool:
        path = tuple(error.absolute_path)
        if path in self._secrets or "if" in error.absolute_schema_path:
            return True
        return path in self._around and error.validator not in _OF_FIELDS


def _child_end(answer: Any) -> dict[str, Any]:
    """A fixture of a child: its scopes and result, or its failure."""
    if isinstance(answer, Failure):
        return {"status": "FAILED", "error": answer.to_json()}
    given: Mapping[str, Any] = answer if isinstance(answer, Mapping) else {}
    scopes = {"payload": given.get("payload", {}), "vars": given.get("vars", {}), "meta": {}}
    return {"status": "SUCCEEDED", "result": {"scopes": scopes, "result": given.get("result")}}


class _NamedSecrets:
    """Secrets show their name instead of a value."""

    async def get(self, tenant_id: str, name: str) -> str:
        """`[secret:NAME]`."""
        return f"[secret:{name}]"
