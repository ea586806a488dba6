"""Whether the end of the run is all that may be left."""

from __future__ import annotations

from workflows_core.interpreter.plan import Plan
from workflows_core.interpreter.state import BLOCK_KINDS, State

_PASSED_ONCE = frozenset({"block", "try", "catch"})


def may_end_next(plan: Plan, state: State) -> bool:
    """True when the run waits for one action alone, and, if nothing fails, no step behind it asks for an answer.

    Which activity calls the action depends on it, so the answer for a plan and a state never changes: it stands in
    histories.
    """
    if state.ending is not None or any(frame.pending is None for frame in state.frames.values()):
        return False
    open_steps = [(frame, frame.at_work.kind) for frame in state.frames.values()]
    if [kind for _, kind in open_steps if kind not in BLOCK_KINDS] != ["action"]:
        return False
    return all(
        (kind == "action" or kind in _PASSED_ONCE) and frame.position == plan.last_asking.get(frame.block)
        for frame, kind in open_steps
    )
