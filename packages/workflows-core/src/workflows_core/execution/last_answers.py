"""What both sides of a last action make of its answer: the activity that calls it, and the run."""

from __future__ import annotations

from typing import Any

from workflows_core.expressions.reading import json_bytes
from workflows_core.interpreter.messages import ActionSucceeded
from workflows_core.interpreter.state import State
from workflows_core.wire.records import EndedRecord


def succeeded(command_id: str, output: Any, at: int) -> ActionSucceeded:
    """The answer as the interpreter takes it."""
    return ActionSucceeded(command_id, at, output, json_bytes(output), recorded=True)


def ended_of(state: State) -> EndedRecord | None:
    """The end that a run has come to, without texts: those of errors may change from one build to the next."""
    outcome = state.outcome
    if outcome is None:
        return None
    return {
        "at": outcome.at,
        "status": outcome.status,
        "category": None if outcome.failure is None else str(outcome.failure.category),
        "path": state.current_path,
        "steps": state.steps_run,
    }
