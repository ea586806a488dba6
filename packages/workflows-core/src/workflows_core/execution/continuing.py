"""When a run goes on as a new execution, so that no history grows without end.

Continuing cancels what is running, so it waits for a moment when nothing is. Until it is overdue the run goes on
meanwhile, since an action may take an hour; then nothing new is called before that moment has come.
"""

from __future__ import annotations

from typing import Final

from temporalio import workflow

from workflows_core.interpreter.state import State
from workflows_core.wire.records import LoadedRun

_OVERDUE: Final = 4
"""Times the limit of steps and signals after which an execution is due."""

_OVERDUE_EVENTS: Final = 20_000
"""Of a history; Temporal ends a run at 51,200."""


def is_due(state: State, loaded: LoadedRun, signals: int) -> bool:
    """Whether the run continues as soon as nothing is running."""
    return _beyond(state, loaded, signals, 1) or workflow.info().is_continue_as_new_suggested()


def is_overdue(state: State, loaded: LoadedRun, signals: int) -> bool:
    """Whether it calls nothing new before it has continued."""
    return _beyond(state, loaded, signals, _OVERDUE) or workflow.info().get_current_history_length() >= _OVERDUE_EVENTS


def _beyond(state: State, loaded: LoadedRun, signals: int, times: int) -> bool:
    return (
        state.steps_run >= times * loaded["continue_after_steps"] or signals >= times * loaded["continue_after_signals"]
    )
