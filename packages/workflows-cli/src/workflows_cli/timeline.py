"""A run's timeline as text."""

from __future__ import annotations

from workflows_cli.output import table
from workflows_core.storage.runs import RunTimeline


def step_lines(timeline: RunTimeline) -> list[str]:
    """One line for each step as it stands."""
    return [
        f"  {step.status:<15} {step.step_type:<17} {step.name or step.definition_step_id}"
        + (f"  (attempt {step.attempt})" if step.attempt > 1 else "")
        + (f"  {step.error_json['category']}: {step.error_json['message']}" if step.error_json else "")
        for step in timeline.steps
    ]


def timeline_text(timeline: RunTimeline) -> str:
    """For people: the run, then steps, waits and what events did."""
    run = timeline.run
    lines = [f"run {run.run_id}  {run.status}  {run.workflow_id} version {run.workflow_version}"]
    if timeline.queue is not None:
        lines.append(str(timeline.queue))
    if run.status == "WAITING" and run.waiting_for:
        for wait in run.waiting_for.get("waits", []):
            what = f" {wait['eventName']} with key {wait['key']}" if wait.get("eventName") else ""
            lines.append(f"waits at {wait['stepPath']} for {wait['kind']}{what}")
    if run.error_json:
        lines.append(
            f"error {run.error_json['category']} at {run.error_json.get('nodePath')}: {run.error_json['message']}"
        )
    rows = [
        {
            "step": step.step_path,
            "type": step.step_type,
            "name": step.name or step.definition_step_id,
            "status": step.status,
            "attempt": step.attempt,
            "ms": step.duration_ms,
        }
        for step in timeline.steps
    ]
    lines += ["", table(rows, ("step", "type", "name", "status", "attempt", "ms"))]
    if timeline.waits:
        waits = [row.to_json() for row in timeline.waits]
        lines += ["", table(waits, ("stepPath", "waitType", "eventName", "key", "status", "matchedEventId"))]
    if timeline.deliveries:
        deliveries = [row.to_json() for row in timeline.deliveries]
        lines += ["", table(deliveries, ("eventId", "targetId", "status", "reason"))]
    for log in timeline.logs:
        lines.append(f"{log.level} {log.message}")
    return "\n".join(lines)
