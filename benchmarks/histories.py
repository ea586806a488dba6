"""Where the time of a run goes, as its history tells: who had the run between one event and the next.

True of runs whose steps come one after the other, with nothing beside them.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle

_ELSEWHERE = "before and behind the history"
_TEMPORAL = "Temporal between events"
_HOLDERS = {
    EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED: "workflow tasks wait",
    EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED: "workflow code and local activities",
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: "activities wait",
    EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED: "activities run",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: "executions wait for their first task",
}


async def time_of(client: Client, handle: WorkflowHandle[Any, Any], seconds: float) -> dict[str, float]:
    """Milliseconds of a run by who had it, all its executions together.

    Args:
        client: Of the server that ran it.
        handle: Of the run.
        seconds: From the call that started it to its result.
    """
    found: defaultdict[str, float] = defaultdict(float)
    run_id = (await handle.describe()).raw_description.workflow_execution_info.first_run_id
    while run_id:
        history = await client.get_workflow_handle(handle.id, run_id=run_id).fetch_history()
        for event, following in zip(history.events, history.events[1:], strict=False):
            passed = following.event_time.ToNanoseconds() - event.event_time.ToNanoseconds()
            found[_HOLDERS.get(event.event_type, _TEMPORAL)] += passed / 1e6
        run_id = history.events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    found[_ELSEWHERE] = seconds * 1000 - sum(found.values())
    return found


def told_time(runs: Sequence[Mapping[str, float]]) -> str:
    """The medians over some runs, as a text; what takes less than half a millisecond is left out."""
    names = {name for run in runs for name in run}
    medians = {name: statistics.median(run.get(name, 0.0) for run in runs) for name in names}
    shown = sorted(medians.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {each:.0f} ms" for name, each in shown if each >= 0.5)
