"""Whether a run may start: which version, paused, limit. In the transaction that inserts its row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Json, Refused
from workflows_core.launching.request import LaunchRequest
from workflows_core.publishing.contracts import payload_problems
from workflows_core.publishing.lookup import no_version, unknown_workflow
from workflows_core.storage.admission import HeldDefinition, HeldVersion, began_with, hold_definition, open_runs
from workflows_core.storage.queued_runs import has_queued, leave_queue
from workflows_core.storage.rows import RunRow
from workflows_core.storage.runs import NewRun, get_run, insert_run, kept_for_launch


@dataclass(frozen=True, slots=True)
class Admitted:
    """A run that has its row.

    Attributes:
        row: The row.
        key: The workflow's key.
        created: Whether the run is new.
        kept: What only its start needs: `executionKey`, `checkpoint`.
    """

    row: RunRow
    key: str
    created: bool
    kept: dict[str, Any]


async def admit(conn: AsyncConnection, request: LaunchRequest, run_id: str) -> Admitted:
    """Inserts the run as STARTING, or as QUEUED where it has to wait, or finds it there already.

    Raises:
        Refused: `WORKFLOW_UNKNOWN`, `WORKFLOW_NOT_PUBLISHED`, `WORKFLOW_VERSION_UNKNOWN`, `WORKFLOW_PAUSED`,
            `CONCURRENCY_LIMIT_REACHED`, `RUN_ID_TAKEN`, `PAYLOAD_INVALID`.
    """
    held = await _held(conn, request)
    existing = None if request.run_id is None else await get_run(conn, run_id)
    if existing is not None:
        return await _found(conn, existing, held, request)
    version, queued = await _checked(conn, held, request)
    kept = {"executionKey": request.execution_key, "checkpoint": request.checkpoint}
    kept = {name: value for name, value in kept.items() if value is not None}
    row, inserted = await insert_run(
        conn,
        NewRun(
            run_id=run_id,
            workflow_id=held.workflow_id,
            workflow_version=version.version,
            definition_hash=version.definition_hash,
            payload=_payload(request),
            trigger_type=request.trigger_type,
            trigger_metadata=request.trigger_metadata,
            trigger_fire_key=request.trigger_fire_key,
            event_type=request.event_type,
            parent_run_id=request.parent_run_id,
            root_run_id=request.root_run_id,
            launch=kept or None,
            status="QUEUED" if queued else "STARTING",
        ),
    )
    return Admitted(row, held.key, True, kept) if inserted else await _found(conn, row, held, request)


async def would_start(conn: AsyncConnection, request: LaunchRequest, ahead: int = 0) -> bool:
    """Whether a new run would start at once, or wait for others of its workflow to end. Nothing is written or held.

    `ahead` is how many more runs of the workflow are started in front of it.

    Raises:
        Refused: As `admit`.
    """
    async with conn.begin_nested() as looking:
        _, queued = await _checked(conn, await _held(conn, request), request, ahead)
        await looking.rollback()
    return not queued


async def admit_again(conn: AsyncConnection, run_id: str) -> Admitted | None:
    """A run of which the row is there: QUEUED becomes STARTING if there is room now. None for one without a row."""
    row = await get_run(conn, run_id)
    held = None if row is None else await hold_definition(conn, row.workflow_id, by_id=True)
    if row is None or held is None:
        return None
    if not held.is_paused and not await _is_full(conn, held):
        await leave_queue(conn, run_id)
    return await _found(conn, await get_run(conn, run_id) or row, held)


async def _found(
    conn: AsyncConnection, row: RunRow, held: HeldDefinition, request: LaunchRequest | None = None
) -> Admitted:
    """A run that was there before, if it is the one that is asked for."""
    if row.workflow_id != held.workflow_id:
        message = f"run {row.run_id} is one of workflow {row.workflow_id!r}: choose another id"
        raise Refused.one("RUN_ID_TAKEN", message, "runId")
    if request is not None and _is_a_caller_s(request):
        same_version = request.version is None or request.version == row.workflow_version
        if not same_version or not await began_with(conn, row.run_id, _payload(request)):
            other = "payload" if same_version else "version"
            message = f"run {row.run_id} was started with another {other}: choose another id"
            raise Refused.one("RUN_ID_TAKEN", message, "runId")
    return Admitted(row, held.key, False, await kept_for_launch(conn, row.run_id))


async def _held(conn: AsyncConnection, request: LaunchRequest) -> HeldDefinition:
    held = await hold_definition(conn, request.workflow, request.version)
    if held is None:
        raise await unknown_workflow(conn, request.workflow)
    return held


async def _checked(
    conn: AsyncConnection, held: HeldDefinition, request: LaunchRequest, ahead: int = 0
) -> tuple[HeldVersion, bool]:
    """The version of a new run, and whether the run has to wait."""
    version = held.version
    if version is None:
        raise await no_version(conn, held.workflow_id, held.key, request.version)
    if held.is_paused:
        message = f"workflow {held.key!r} is paused: resume it first, with `workflows definitions resume {held.key}`"
        raise Refused.one("WORKFLOW_PAUSED", message, "workflow")
    queued = await _has_to_wait(conn, held, version, request, ahead)
    if version.payload_schema is not None:
        problems = payload_problems(version.payload_schema, _payload(request), "PAYLOAD_INVALID", "payload")
        if problems:
            raise Refused(problems)
    return version, queued


def _payload(request: LaunchRequest) -> Json:
    return {} if request.payload is None else request.payload


def _is_a_caller_s(request: LaunchRequest) -> bool:
    """A trigger or a parent that asks again means the run that it asked for, whatever it would send by now."""
    return request.trigger_type is None and request.parent_run_id is None


async def _is_full(conn: AsyncConnection, held: HeldDefinition, ahead: int = 0) -> bool:
    limit = held.concurrency_limit
    return limit is not None and await open_runs(conn, held.workflow_id) + ahead >= limit


async def _has_to_wait(
    conn: AsyncConnection, held: HeldDefinition, version: HeldVersion, request: LaunchRequest, ahead: int
) -> bool:
    """Whether the run starts later; a child does not, since its parent may be what it would wait for."""
    full = await _is_full(conn, held, ahead)
    if version.waits_at_limit and request.parent_run_id is None:
        # Behind those that wait already: the order of starts is the order of launches.
        return full or (held.concurrency_limit is not None and await has_queued(conn, held.workflow_id))
    if full:
        limit = held.concurrency_limit
        message = f"{limit} run(s) of workflow {held.key!r} are open, which is its limit: wait for one to end,"
        message += f" or raise it with `workflows definitions limit {held.key} N`"
        raise Refused.one("CONCURRENCY_LIMIT_REACHED", message, "workflow")
    return False
