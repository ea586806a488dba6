"""What a run shows of itself: its result, and a text for Temporal's UI."""

from __future__ import annotations

import json
from typing import Any

from workflows_core.interpreter.state import State

MAX_RESULT_BYTES = 256 * 1024
"""Scopes up to this size are the run's result; larger ones are left out, with their size."""


def details_of(state: State) -> str:
    """What Temporal's UI shows of the run while it is open."""
    waits = [
        f"- {p.kind} `{f.step_path}`" + ("" if p.wait is None or p.wait["key"] is None else f" key `{p.wait['key']}`")
        for f, p in state.pending("event", "time", "retry")
    ]
    waits += [
        f"- action `{p.call['action_id']}@{p.call['action_version']}` at `{f.step_path}`"
        for f, p in state.pending("action")
        if p.call is not None
    ]
    return "\n".join([f"Current step: `{state.current_path}`", *(["Waits for:", *waits] if waits else [])])


def result_of(state: State) -> dict[str, Any]:
    """What the run gives back: `scopes`, and `result` where `control.return` gave one.

    Scopes that are too large are left out, with their size.
    """
    outcome = state.outcome
    result = {} if outcome is None or outcome.result is None else {"result": outcome.result}
    scopes = state.scopes.to_json()
    size = len(json.dumps(scopes, separators=(",", ":")))
    if size <= MAX_RESULT_BYTES:
        return {"scopes": scopes, **result}
    return {"scopes": None, "scopesBytes": size, **result}
