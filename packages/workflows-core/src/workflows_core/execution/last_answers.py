"""What both sides of a last action make of its answer: the activity that calls it, and the run."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from workflows_core.expressions.reading import json_bytes
from workflows_core.interpreter.messages import ActionSucceeded
from workflows_core.interpreter.state import Outcome


def succeeded(command_id: str, output: Any, at: int) -> ActionSucceeded:
    """The answer as the interpreter takes it."""
    return ActionSucceeded(command_id, at, output, json_bytes(output), recorded=True)


def digest(outcome: Outcome, result: dict[str, Any]) -> str:
    """Equal for two ends of the same status, result and error.

    Stands in histories: it never changes.
    """
    error = None if outcome.failure is None else outcome.failure.to_json()
    text = json.dumps([outcome.status, result, error], separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
