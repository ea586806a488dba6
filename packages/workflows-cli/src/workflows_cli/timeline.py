"""A run's timeline as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from workflows_cli.output import table, utc_text
from workflows_core.storage.runs import RunTimeline
from workflows_core.wire.names import RUN_ENDED

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SHOWN_CHARACTERS = 500
"""Of a result; `--format json` has all of it."""


def step_lines(timeline: RunTimeline) -> list[str]:
    """One line for each step as it stands."""
    return [
        f"  {step.status:<15} {step.step_type:<17} {step.name or step.definition_step_id}"
        + (f"  (attempt {step.attempt})" if step.attempt > 1 else "")
        + (f"  {_why(step.error_json, place=False)}" if step.error_json else "")
        for step in timeline.steps
    ]


def timeline_text(
    timeline: RunTimeline, result: Any, *, workflow: str | None = None, polled: bool | None = None
) -> str:
    """For people: the run, then steps, waits and what events did.

    Args:
        timeline: What is recorded.
        result: The run's `result_json` as it may be shown.
        workflow: Key of its workflow; None for the id.
        polled: Whether anybody executes runs; None where that is not known, or nothing is left to execute.
    """
    run = timeline.run
    above = f"  called by run {run.parent_run_id}" if run.parent_run_id else ""
    lines = [f"run {run.run_id}  {run.status}  {workflow or run.workflow_id} version {run.workflow_version}{above}"]
    ended = f", ended {utc_text(run.completed_at)}" if run.completed_at is not None else ""
    lines.append(f"{'queued' if run.status == 'QUEUED' else 'started'} {utc_text(run.started_at)}{ended}")
    if polled is False:
        lines.append("no workflow-worker lives: the run stands still until one is started (`workflows ownership`)")
    if timeline.queue is not None:
        lines.append(str(timeline.queue))
    lines += _waits(timeline)
    if run.error_json:
        lines.append(f"error {_why(run.error_json)}")
    if isinstance(result, Mapping) and "result" in result:
        lines.append(f"result {_short(result['result'])}")
    rows = [
        {
            "step": step.step_path,
            "type": step.step_type,
            "name": step.name or step.definition_step_id,
            "status": step.status,
            "attempt": step.attempt,
            "started": utc_text(step.started_at),
            "ms": step.duration_ms,
            "error": _why(step.error_json, place=False) if step.error_json else None,
        }
        for step in timeline.steps
    ]
    columns = ["step", "type", "name", "status", "attempt", "started", "ms"]
    if any(row["error"] for row in rows):
        columns.append("error")
    lines += ["", table(rows, columns)]
    if timeline.waits:
        waits = [row.to_json() for row in timeline.waits]
        lines += ["", table(waits, ("waitId", "stepPath", "waitType", "eventName", "key", "status", "matchedEventId"))]
    if timeline.deliveries:
        deliveries = [row.to_json() for row in timeline.deliveries]
        lines += ["", table(deliveries, ("eventId", "targetId", "status", "reason"))]
    for log in timeline.logs:
        lines.append(f"{utc_text(log.created_at)} {log.level} {log.message}")
    return "\n".join(lines)


def _waits(timeline: RunTimeline) -> list[str]:
    """A line for each thing that an idle run waits for."""
    if timeline.run.status != "WAITING" or not timeline.run.waiting_for:
        return []
    since = {wait.step_path: wait.created_at for wait in timeline.waits if wait.status == "WAITING"}
    found = timeline.run.waiting_for.get("waits", [])
    return [f"waits at {wait['stepPath']} for {_awaited(wait)}{_span(since, wait)}" for wait in found]


def _awaited(wait: Mapping[str, Any]) -> str:
    """What a wait is for; the key of a task's answer and of a child's end is the id to look at."""
    name, key = wait.get("eventName"), wait.get("key")
    if wait["kind"] == "human":
        return f"the answer to task {key} (`workflows tasks show`)"
    if name == RUN_ENDED:
        return f"the end of run {key} (`workflows runs show`)"
    if wait["kind"] == "retry":
        return "its next attempt"
    if wait["kind"] == "quota":
        return "steps of the tenant's quota, which is used up (STEP_QUOTA_EXCEEDED)"
    return f"{wait['kind']} {name} with key {key}" if name else str(wait["kind"])


def _span(since: Mapping[str, datetime], wait: Mapping[str, Any]) -> str:
    """Since when and until when it waits; a retry has no wait that began."""
    begun, due_at = since.get(wait["stepPath"]), wait.get("dueAt")
    begins = "" if begun is None else f" since {utc_text(begun)}"
    if due_at is None:
        return f"{begins}, without a time-out"
    return f"{begins} until {utc_text(_EPOCH + timedelta(milliseconds=due_at))}"


def _why(error: Mapping[str, Any], *, place: bool = True) -> str:
    """Category, code, place and message of a failure, as far as it has them."""
    code = f" {error['code']}" if error.get("code") else ""
    where = f" at {error['nodePath']}" if place and error.get("nodePath") else ""
    return f"{error['category']}{code}{where}: {error['message']}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}… (--format json has all of it)"
