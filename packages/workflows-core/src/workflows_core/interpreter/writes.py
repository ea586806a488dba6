"""Builds the write a regular activity carries, from the state and its outbox."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from workflows_core.interpreter.state import State
from workflows_core.wire.records import RunStatus, RunWrite, StepRecord, WaitRecord

IDLE_MS = 1_000
"""A run that waits longer than this, in milliseconds, is idle: it writes what is pending and says WAITING."""


def is_idle(state: State, at: int) -> bool:
    """True when the run waits for an event, or for a time more than `IDLE_MS` away, and for no action."""
    waiting = state.pending("event", "quota", "time", "retry")
    if not waiting or state.pending("action", "launch") or state.runnable:
        return False
    return all(p.kind in ("event", "quota") or (p.due_at is not None and p.due_at - at > IDLE_MS) for _, p in waiting)


def write_is_due(state: State, at: int) -> bool:
    """True when the run must not go on, or go idle, before a write of its own."""
    outbox = state.outbox
    if outbox.is_full:
        return True
    if has_new_waits(state):
        return True
    if not is_idle(state, at):
        return False
    return outbox.uncarried > 0 or outbox.status_written != "WAITING" or outbox.waits_written != _ids(state)


def has_new_waits(state: State) -> bool:
    """True when a wait for an event is open that no write has named: events cannot find it yet."""
    found = {p.wait["wait_id"] for _, p in state.pending("event") if p.wait is not None}
    written = state.outbox.waits_written
    return bool(found) and (written is None or not found <= written)


def take_write(state: State, at: int) -> tuple[State, RunWrite]:
    """A write of its own: what is pending, the status, and the waits open now."""
    status: RunStatus = "WAITING" if is_idle(state, at) else "RUNNING"
    return _take(state, status, state.open_waits(), state.current_path)


def take_carried_write(state: State, step_path: str) -> tuple[State, RunWrite]:
    """The write that travels with an action; it names the waits only where something about them is news."""
    named = state.outbox.tells_of_waits or state.outbox.waits_written != _ids(state)
    return _take(state, "RUNNING", state.open_waits() if named else None, step_path)


def take_final_write(state: State, result: Any) -> tuple[State, RunWrite]:
    """The end: everything not acknowledged, no open waits, outcome and result."""
    outcome = state.outcome
    if outcome is None:
        raise ValueError("the run has no outcome yet")
    final, write = _take(state, outcome.status, [], None, everything=True)
    write["result_json"] = result
    write["error_json"] = None if outcome.failure is None else outcome.failure.to_json()
    return final, write


def waiting_for(state: State) -> dict[str, Any] | None:
    """What an idle run waits for, for people: kind, step, event and key, due time in milliseconds."""
    waits = [
        {
            "kind": pending.wait["wait_type"] if pending.wait is not None else pending.kind,
            "stepPath": frame.step_path,
            "eventName": None if pending.wait is None else pending.wait["event_name"],
            "key": None if pending.wait is None else pending.wait["key"],
            "dueAt": pending.due_at,
        }
        for frame, pending in state.pending("event", "quota", "time", "retry")
    ]
    return {"waits": waits} if waits else None


def _ids(state: State) -> frozenset[str]:
    return frozenset(wait["wait_id"] for wait in state.open_waits())


def _take(
    state: State,
    status: RunStatus,
    waits: list[WaitRecord] | None,
    node_path: str | None,
    *,
    everything: bool = False,
) -> tuple[State, RunWrite]:
    named = None if waits is None else frozenset(wait["wait_id"] for wait in waits)
    outbox, taken = state.outbox.take(status, named, everything=everything)
    identity = state.identity
    fence = {"generation": state.generation, "sequence": outbox.sequence}
    steps = [cast(StepRecord, {**record, **fence}) for record in taken.steps]
    write: RunWrite = {
        "tenant": identity.tenant,
        "run_id": identity.run_id,
        "workflow_id": identity.workflow_id,
        "workflow_version": identity.workflow_version,
        "definition_hash": identity.definition_hash,
        "trigger_type": identity.trigger_type,
        "generation": state.generation,
        "sequence": outbox.sequence,
        "status": status,
        "node_path": node_path,
        "waiting_for": waiting_for(state) if status == "WAITING" else None,
        "steps": steps,
        "consumed": taken.consumed,
        "closed": taken.closed,
        "waits": waits,
        "logs": taken.logs,
        "result_json": None,
        "error_json": None,
    }
    if taken.refused:
        write["refused"] = taken.refused
    return replace(state, outbox=outbox), write
