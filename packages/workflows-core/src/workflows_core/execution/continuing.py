"""When a run goes on as a new execution, so that no history grows without end.

Continuing cancels what is running, so it waits for a moment when nothing is. Until it is overdue the run goes on
meanwhile, since an action may take an hour; then nothing new is called before that moment has come.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from temporalio import workflow

from workflows_core.wire.records import LoadedRun

_OVERDUE: Final = 4
"""Times the limit of steps, effort and signals after which an execution is due."""

_OVERDUE_EVENTS: Final = 20_000
"""Of a history; Temporal ends a run at 51,200."""

_OVERDUE_BYTES: Final = 20 * 1024 * 1024
"""Likewise; Temporal ends it at 50 MiB."""

_EFFORT: Final = "continue_after_effort"
"""Absent in histories that were begun before effort and bytes counted: they go on as they did."""


class Spent(NamedTuple):
    """What an execution has had so far."""

    steps: int
    effort: int
    signals: int


def is_due(spent: Spent, loaded: LoadedRun) -> bool:
    """Whether the run continues as soon as nothing is running."""
    return _beyond(spent, loaded, 1) or workflow.info().is_continue_as_new_suggested()


def is_overdue(spent: Spent, loaded: LoadedRun) -> bool:
    """Whether it calls nothing new before it has continued."""
    info = workflow.info()
    return (
        _beyond(spent, loaded, _OVERDUE)
        or info.get_current_history_length() >= _OVERDUE_EVENTS
        or (_EFFORT in loaded and info.get_current_history_size() >= _OVERDUE_BYTES)
    )


def _beyond(spent: Spent, loaded: LoadedRun, times: int) -> bool:
    return (
        spent.steps >= times * loaded["continue_after_steps"]
        or spent.signals >= times * loaded["continue_after_signals"]
        or spent.effort >= times * loaded.get(_EFFORT, math.inf)
    )
