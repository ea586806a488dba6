"""The state that a run begins with."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from workflows_core.execution.clock import now_ms, start_ms
from workflows_core.execution.semantics import semantics_of
from workflows_core.interpreter.plan import ROOT_BLOCK, Plan
from workflows_core.interpreter.state import RunIdentity, State
from workflows_core.interpreter.step import initial_state
from workflows_core.wire.messages import RunInput
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
    """What the load activity is called with: the run's input, and when the execution was started."""
    return {**run_input.to_wire(), "executionStartedAt": start_ms()}


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


def unloaded_state(run_input: RunInput, started_at: int) -> State:
    """Of a run whose definition could not be loaded: it has no step."""
    empty = Plan({ROOT_BLOCK: ()}, "", ())
    return initial_state(empty, _identity(run_input, ""), payload={}, meta={}, started_at=started_at)


def _identity(run_input: RunInput, definition_hash: str) -> RunIdentity:
    return RunIdentity(
        run_id=run_input.run_id,
        tenant=run_input.tenant_id,
        workflow_id=run_input.workflow_id,
        workflow_version=run_input.workflow_version,
        definition_hash=definition_hash,
        trigger_type=run_input.trigger_type,
    )
