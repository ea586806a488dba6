"""What a run begins with: its definition and its state."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from temporalio import workflow
from temporalio.exceptions import FailureError

from workflows_core.errors import ErrorCategory, Failure, Refused
from workflows_core.execution import options
from workflows_core.execution.clock import now_ms, start_ms
from workflows_core.execution.failures import run_error, step_failure
from workflows_core.execution.plans import plan_for
from workflows_core.execution.semantics import semantics_of
from workflows_core.execution.shielding import read
from workflows_core.interpreter.outbox import Entry
from workflows_core.interpreter.plan import ROOT_BLOCK, Plan
from workflows_core.interpreter.state import Outcome, RunIdentity, State
from workflows_core.interpreter.step import initial_state
from workflows_core.wire.compact_loads import full_loaded
from workflows_core.wire.messages import RunInput
from workflows_core.wire.names import ACTIVITY_LOAD
from workflows_core.wire.records import LoadedRun

_TASK_MS = 10_000
"""How long a workflow task may take: Temporal gives it to another worker then."""


def first_state(plan: Plan, run_input: RunInput, loaded: LoadedRun) -> State:
    """Of a run that was loaded: from its checkpoint where it has one."""
    # As the execution began with it: what is in its history already opened its waits without a limit.
    max_key_bytes = loaded.get("max_key_bytes")
    if run_input.checkpoint is not None:
        return replace(State.from_checkpoint(json.loads(run_input.checkpoint)), max_key_bytes=max_key_bytes)
    state = initial_state(
        plan,
        _identity(run_input, loaded["definition_hash"]),
        payload=loaded["payload"],
        meta=loaded["meta"],
        started_at=_started_at(loaded),
        semantics=semantics_of(loaded),
    )
    return replace(state, max_key_bytes=max_key_bytes)


def load_call(run_input: RunInput) -> dict[str, Any]:
    """What the load activity is called with: the run's input, the execution's start, and the one it goes on for."""
    call = {**run_input.to_wire(), "executionStartedAt": start_ms()}
    before = workflow.info().continued_run_id
    return call if before is None else {**call, "continuedFrom": before}


class LoadFailed(Exception):
    """Indicates a run that cannot begin, or go on, in this execution."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


async def load(run_input: RunInput) -> tuple[LoadedRun, Plan]:
    """What the execution needs to know before its first step.

    Raises:
        LoadFailed: There is no such version, or it is not what was published.
        ApplicationError: `RunReset`: it goes on for an execution that is not the run's own.
        asyncio.CancelledError: The run is cancelled meanwhile.
    """
    try:
        loaded = full_loaded(await read(ACTIVITY_LOAD, load_call(run_input), options.for_load()))
    except FailureError as error:
        failure = step_failure(error).failure
        if failure.category == ErrorCategory.RUN_RESET:
            # Nothing of it is written, as no end of it would be: the row is another execution's.
            raise run_error(failure) from error
        raise LoadFailed(failure) from error
    try:
        return loaded, plan_for(loaded["definition"], loaded["definition_hash"])
    except Refused as error:
        raise LoadFailed(Failure(ErrorCategory.VALIDATION, error.sentence, code=error.code)) from error


def _started_at(loaded: LoadedRun) -> int:
    """When the run started, by the database's clock.

    Of a run without a row it is known when it was loaded: maybe long after its start, and events between. How long, a
    workflow does not quite know: its time stands still from the begin of its task to its first local activity. So the
    loading tells by the clock of its machine, which may be off, and is believed for as long as a task may take.
    """
    if not loaded.get("started_before"):
        return loaded["started_at"]
    since = max(0, now_ms() - start_ms())
    return loaded["started_at"] - min(max(since, loaded.get("since_start_ms", 0)), since + _TASK_MS)


def unloaded_state(run_input: RunInput, failure: Failure, at: int) -> State:
    """Of a run that ends since its definition could not be loaded: as it was carried here, or one without a step."""
    cancelled = failure.category == ErrorCategory.CANCELLATION
    outcome = Outcome("CANCELED" if cancelled else "FAILED", at, failure)
    if run_input.checkpoint is not None:
        state = State.from_checkpoint(json.loads(run_input.checkpoint))
        return replace(state, outcome=outcome, outbox=state.outbox.add(_not_undone(state, at)))
    empty = Plan({ROOT_BLOCK: ()}, "", ())
    state = initial_state(empty, _identity(run_input, ""), payload={}, meta={}, started_at=at)
    return replace(state, outcome=outcome)


def _not_undone(state: State, at: int) -> list[Entry]:
    """What people must look at: how a step is undone stands in the definition."""
    if not state.undo:
        return []
    paths = ", ".join(undo.step_path for undo in state.undo)
    message = f"without its definition the run undoes nothing; what has steps that undo it: {paths}"
    line = {"level": "ERROR", "message": message, "step_path": None, "context_json": None, "at": at}
    return [Entry.waiting("log", line, len(message))]


def _identity(run_input: RunInput, definition_hash: str) -> RunIdentity:
    return RunIdentity(
        run_id=run_input.run_id,
        tenant=run_input.tenant_id,
        workflow_id=run_input.workflow_id,
        workflow_version=run_input.workflow_version,
        definition_hash=definition_hash,
        trigger_type=run_input.trigger_type,
    )
