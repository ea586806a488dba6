"""`workflows runs start | list | show | cancel | redrive | replay`."""

from __future__ import annotations

from typing import Any, get_args

import click

from service_host.pollers import ListedPollers
from workflows_cli.errors import not_found
from workflows_cli.output import table
from workflows_cli.session import Session, command, given_json
from workflows_cli.timeline import timeline_text
from workflows_core.launching.launcher import Launcher, LaunchRequest
from workflows_core.launching.polled import HeartbeatProbe
from workflows_core.launching.request import LaunchedRun, checked_reason
from workflows_core.publishing.lookup import find_workflow
from workflows_core.redriving.redrive import plan_redrive, redrive, replay
from workflows_core.storage.definitions import find, list_definitions
from workflows_core.storage.runs import get_run, list_runs, run_timeline
from workflows_core.wire.names import AUTHORED_QUEUE
from workflows_core.wire.records import FINAL_RUN_STATUSES, RunStatus

STATUSES = get_args(RunStatus)

_AGAIN = click.option(
    "--again", is_flag=True, help="Start one more, also when it has been redriven or replayed before."
)


@click.group("runs")
def runs_group() -> None:
    """Runs of published workflows."""


@runs_group.command("start")
@click.argument("workflow")
@click.option("--version", type=click.IntRange(min=1), help="Published version; by default the newest.")
@click.option("--payload", default="{}", show_default=True, help="JSON payload of the run, or @FILE.")
@click.option("--run-id", help="Id of the run; the same id never starts twice, and starts nothing else.")
@command
async def start(session: Session, workflow: str, version: int | None, payload: str, run_id: str | None) -> int:
    """Start a run of WORKFLOW (key or id)."""
    body = given_json(payload, "--payload")
    request = LaunchRequest(
        tenant=session.tenant, workflow=workflow, version=version, payload=body, run_id=run_id, trigger_type=None
    )
    launched = await (await launcher_of(session)).launch(request)
    session.emit({"runId": launched.run_id, **_launch_facts(launched)}, _launch_text(launched))
    return 0


@runs_group.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only runs of this status.")
@click.option("--workflow", help="Only runs of this workflow (key or id).")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@command
async def list_(session: Session, status: str | None, workflow: str | None, limit: int) -> int:
    """List runs, newest first."""
    async with session.db.tenant(session.tenant) as conn:
        workflow_id = None if workflow is None else (await find_workflow(conn, workflow)).workflow_id
        found = await list_runs(conn, status=status, workflow_id=workflow_id, limit=limit)
        keys = {row.workflow_id: row.key for row in await list_definitions(conn)}
        shown = await session.shown(conn, [row.to_json() for row in found])
    rows = [{**row, "workflowKey": keys.get(row["workflowId"])} for row in shown]
    named = [{**row, "workflow": row["workflowKey"] or row["workflowId"]} for row in rows]
    session.emit(rows, table(named, ("runId", "workflow", "workflowVersion", "status", "nodePath", "startedAt")))
    return 0


@runs_group.command("show")
@click.argument("run_id")
@command
async def show(session: Session, run_id: str) -> int:
    """Show a run with its steps, waits and events, and whether anybody executes it."""
    async with session.db.tenant(session.tenant) as conn:
        timeline = await run_timeline(conn, run_id)
        if timeline is None:
            raise not_found("RUN_NOT_FOUND", "run", run_id, session.tenant)
        facts = await session.shown(conn, timeline.to_json())
        definition = await find(conn, timeline.run.workflow_id)
    key = None if definition is None else definition.key
    polled = None
    if timeline.run.status not in FINAL_RUN_STATUSES:
        polled = await HeartbeatProbe(session.db, None).is_polled(AUTHORED_QUEUE)
    text = timeline_text(timeline, facts["run"]["resultJson"], workflow=key, polled=polled)
    session.emit({**facts, "workflowKey": key, "polled": polled}, text)
    return 0


@runs_group.command("cancel")
@click.argument("run_id")
@click.option("--reason", required=True, help="Why; it is recorded with the run.")
@command
async def cancel(session: Session, run_id: str, reason: str) -> int:
    """Ask a run to end as CANCELED."""
    why = _noted(session, "CANCEL_REASON_MISSING", reason)
    async with session.db.tenant(session.tenant) as conn:
        run = await get_run(conn, run_id)
    if run is None:
        raise not_found("RUN_NOT_FOUND", "run", run_id, session.tenant)
    await (await launcher_of(session)).cancel(session.tenant, run_id, why)
    session.emit({"runId": run_id, "cancelRequested": True}, f"asked run {run_id} to cancel")
    return 0


@runs_group.command("redrive")
@click.argument("run_id")
@click.option("--from", "step", required=True, help="Step to begin with: its path, or its id (first visit).")
@click.option("--version", type=click.IntRange(min=1), help="Published version; by default the run's own.")
@click.option("--reason", default="", help="Why; it is recorded with both runs. Not needed with --dry-run.")
@click.option("--keep-undone", is_flag=True, help="Keep also what the run has undone (onCompensate) as it ended.")
@_AGAIN
@click.option("--dry-run", is_flag=True, help="Say what is kept and what is repeated, and start nothing.")
@command
async def redrive_(
    session: Session,
    run_id: str,
    step: str,
    version: int | None,
    reason: str,
    *,
    keep_undone: bool,
    again: bool,
    dry_run: bool,
) -> int:
    """Start a FAILED or CANCELED run again from a step, keeping what the steps before it gave.

    It is a new run. Steps at and behind the place are done anew: their actions are called again.
    """
    planned = await plan_redrive(session.db, session.tenant, run_id, step, version)
    planned.check(keep_undone=keep_undone, again=again)
    lines = [
        f"from {planned.step_path}, version {planned.version}",
        f"kept: {', '.join(planned.kept) or 'nothing'}",
        f"repeated: {', '.join(planned.repeated) or 'nothing'}",
        *([f"kept, but undone: {', '.join(planned.undone)}"] if planned.undone else []),
        *([f"redriven or replayed before: {', '.join(planned.earlier)}"] if planned.earlier else []),
    ]
    if dry_run:
        session.emit({**planned.to_json(), "newRunId": None}, "\n".join(["would start a run", *lines]))
        return 0
    why = _noted(session, "REASON_MISSING", reason)
    launcher = await launcher_of(session)
    launched = await redrive(session.db, launcher, session.tenant, planned, why, keep_undone=keep_undone, again=again)
    session.emit({**planned.to_json(), **_launch_facts(launched)}, "\n".join([_launch_text(launched), *lines]))
    return 0


@runs_group.command("replay")
@click.argument("run_id")
@click.option("--payload", help="Another JSON payload, or @FILE; by default the run's own.")
@click.option("--reason", required=True, help="Why; it is recorded with both runs.")
@_AGAIN
@command
async def replay_(session: Session, run_id: str, payload: str | None, reason: str, *, again: bool) -> int:
    """Start an ended run again from the beginning, in the same version."""
    why = _noted(session, "REASON_MISSING", reason)
    body = None if payload is None else given_json(payload, "--payload")
    launched = await replay(session.db, await launcher_of(session), session.tenant, run_id, why, body, again=again)
    facts = {"runId": run_id, "newRunId": launched.run_id, **_launch_facts(launched)}
    session.emit(facts, _launch_text(launched))
    return 0


def _launch_facts(launched: LaunchedRun) -> dict[str, Any]:
    return {
        "status": launched.status,
        "temporalWorkflowId": launched.temporal_workflow_id,
        "polled": launched.polled,
        "created": launched.created,
    }


def _launch_text(launched: LaunchedRun) -> str:
    text = f"started run {launched.run_id}"
    if not launched.created:
        text = f"run {launched.run_id} was started before: it is {launched.status}"
    elif launched.status == "QUEUED":
        text = f"queued run {launched.run_id}: as many runs of its workflow as may be are open; it starts when one ends"
    if launched.polled is False and launched.status not in FINAL_RUN_STATUSES:
        text += "\nwarning: no process polls workflow-runtime-v2; start workflow-worker, the run waits for it"
    return text


def _noted(session: Session, code: str, reason: str) -> str:
    """The reason with who gave it.

    Raises:
        Refused: With that code, for a reason that says nothing.
    """
    return f"{checked_reason(reason, code, '--reason')} ({session.actor})"


async def launcher_of(session: Session) -> Launcher:
    """The one launcher, over this call's connections."""
    client = await session.temporal()
    return Launcher(session.db, client, prober=HeartbeatProbe(session.db, ListedPollers(client)))
