"""Whether a run may start: which version, paused, limit. In the transaction that inserts its row."""

from __future__ import annotations

import difflib

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Problem, Refused
from workflows_core.launching.problems import ConcurrencyLimitReached
from workflows_core.launching.request import LaunchRequest
from workflows_core.publishing.contracts import payload_problems
from workflows_core.storage.admission import hold_definition, open_runs, published_versions
from workflows_core.storage.definitions import get_version, list_definitions
from workflows_core.storage.rows import RunRow
from workflows_core.storage.runs import NewRun, get_run, insert_starting


async def admit(conn: AsyncConnection, request: LaunchRequest, run_id: str) -> tuple[RunRow, str, bool]:
    """Inserts the run as STARTING, or finds it there already.

    Returns:
        The run, the workflow's key, and whether the run is new.

    Raises:
        Refused: `WORKFLOW_UNKNOWN`, `WORKFLOW_NOT_PUBLISHED`, `WORKFLOW_VERSION_UNKNOWN`, `WORKFLOW_PAUSED`,
            `CONCURRENCY_LIMIT_REACHED`, `RUN_ID_TAKEN`, `PAYLOAD_INVALID`.
    """
    held = await hold_definition(conn, request.workflow)
    if held is None:
        raise await _unknown(conn, request.workflow)
    existing = await get_run(conn, run_id)
    if existing is not None:
        return _same_workflow(existing, held.workflow_id), held.key, False
    version = await get_version(conn, held.workflow_id, request.version)
    if version is None:
        raise _no_version(held.key, request.version, await published_versions(conn, held.workflow_id))
    if held.is_paused:
        raise Refused.one("WORKFLOW_PAUSED", f"workflow {held.key!r} is paused: resume it first", "workflow")
    if held.concurrency_limit is not None and await open_runs(conn, held.workflow_id) >= held.concurrency_limit:
        raise ConcurrencyLimitReached(held.key, held.concurrency_limit)
    payload = {} if request.payload is None else request.payload
    if version.payload_schema is not None:
        problems = payload_problems(version.payload_schema, payload, "PAYLOAD_INVALID", "payload")
        if problems:
            raise Refused(problems)
    row, inserted = await insert_starting(
        conn,
        NewRun(
            run_id=run_id,
            workflow_id=held.workflow_id,
            workflow_version=version.version,
            definition_hash=version.definition_hash,
            payload=payload,
            trigger_type=request.trigger_type,
            trigger_metadata=request.trigger_metadata,
            trigger_fire_key=request.trigger_fire_key,
            event_type=request.event_type,
            parent_run_id=request.parent_run_id,
            root_run_id=request.root_run_id,
        ),
    )
    return _same_workflow(row, held.workflow_id), held.key, inserted


def _same_workflow(row: RunRow, workflow_id: str) -> RunRow:
    """A run that was there before, if it is one of this workflow."""
    if row.workflow_id != workflow_id:
        message = f"run {row.run_id} is one of workflow {row.workflow_id!r}: choose another id"
        raise Refused.one("RUN_ID_TAKEN", message, "runId")
    return row


async def _unknown(conn: AsyncConnection, workflow: str) -> Refused:
    keys = [row.key for row in await list_definitions(conn)]
    close = difflib.get_close_matches(workflow, keys, n=1)
    known = f"there are {', '.join(keys[:10])}" if keys else "there are none; import one"
    message = f"this tenant has no workflow {workflow!r}: {known}"
    return Refused([Problem("WORKFLOW_UNKNOWN", message, "workflow", suggestion=close[0] if close else None)])


def _no_version(key: str, version: int | None, published: list[int]) -> Refused:
    if not published:
        message = f"workflow {key!r} has only a draft: publish it first"
        return Refused.one("WORKFLOW_NOT_PUBLISHED", message, "workflow")
    shown = ", ".join(str(number) for number in published[-10:])
    message = f"workflow {key!r} has no version {version}; published are {shown}"
    return Refused.one("WORKFLOW_VERSION_UNKNOWN", message, "version", suggestion=str(published[-1]))
