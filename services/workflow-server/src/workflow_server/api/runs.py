"""`/v1/runs`: start, list, show, cancel."""

from __future__ import annotations

import base64
import binascii
import uuid
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import StringConstraints, ValidationError

from workflow_server.api.access import allowed
from workflow_server.api.models import (
    CancelRequested,
    CancelRun,
    Cursor,
    Name,
    RunDetail,
    RunFilter,
    RunPage,
    StartedRun,
    StartRun,
)
from workflow_server.api.problems import refusal
from workflow_server.api.responses import refused, succeeded
from workflows_core.errors import Refused
from workflows_core.launching.launcher import Launcher
from workflows_core.launching.problems import SearchAttributesMissing, TemporalUnavailable
from workflows_core.launching.request import LaunchedRun, LaunchRequest
from workflows_core.publishing.lookup import find_workflow
from workflows_core.redaction import run_without_contents, without_contents
from workflows_core.storage.api_tokens import TokenHolder
from workflows_core.storage.database import Database
from workflows_core.storage.redaction_rules import get_redaction
from workflows_core.storage.rows import RunRow
from workflows_core.storage.runs import get_run, list_runs, run_timeline

IdempotencyKey = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$")]

_RUN_IDS: Final = uuid.UUID("6f6e1a9e-2b3c-5d4e-8f70-8a9b0c1d2e3f")
"""Namespace of run ids made from idempotency keys; it never changes."""


def runs_router(db: Database, launcher: Launcher) -> APIRouter:
    """The routes, over the one launcher."""
    router = APIRouter(prefix="/v1/runs", tags=["runs"])

    @router.post(
        "",
        status_code=201,
        response_model=StartedRun,
        responses={
            **succeeded(200, StartedRun, "The run that this key has started before."),
            **succeeded(202, StartedRun, "Temporal is away: the run is recorded, and starts when it is back."),
            **refused(404, 409, 413, 415, 422, 502, 503),
        },
    )
    async def start_run(
        body: StartRun,
        response: Response,
        holder: Annotated[TokenHolder, Depends(allowed("operator"))],
        idempotency_key: Annotated[IdempotencyKey | None, Header()] = None,
    ) -> Any:
        """Start a run. With an `Idempotency-Key`, the same request again answers the same run (200).

        While Temporal is away the run is recorded and starts when it is back (202).
        """
        request = LaunchRequest(
            tenant=holder.tenant,
            workflow=body.workflow,
            version=body.version,
            payload={} if body.payload is None else body.payload,
            run_id=str(uuid.uuid4()) if idempotency_key is None else _run_id_of(holder.tenant, idempotency_key),
        )
        response.status_code, started = await _start(db, launcher, request, has_key=idempotency_key is not None)
        return started

    @router.get("", response_model=RunPage, responses=refused(404, 422, 503))
    async def get_runs(
        holder: Annotated[TokenHolder, Depends(allowed("viewer"))],
        wanted: Annotated[RunFilter, Query()],
    ) -> Any:
        """List runs, newest first, without inputs and results; reasons to operators only."""
        before = None if wanted.cursor is None else _read_cursor(wanted.cursor)
        async with db.tenant(holder.tenant) as conn:
            workflow = None if wanted.workflow is None else await find_workflow(conn, wanted.workflow)
            rows = await list_runs(
                conn,
                status=wanted.status,
                workflow_id=None if workflow is None else workflow.workflow_id,
                before=before,
                limit=wanted.limit + 1,
            )
            redaction = await get_redaction(conn)
        page = rows[: wanted.limit]
        more = len(rows) > wanted.limit
        following = _cursor(Cursor(at=page[-1].started_at, run_id=page[-1].run_id)) if more else None
        runs = redaction.shown([row.to_json() for row in page])
        shown = runs if holder.role == "operator" else [run_without_contents(run) for run in runs]
        return {"runs": shown, "next": following}

    @router.get("/{run_id}", response_model=RunDetail, responses=refused(404, 422, 503))
    async def show_run(run_id: Name, holder: Annotated[TokenHolder, Depends(allowed("viewer"))]) -> Any:
        """Show a run with its steps, waits, invocations, deliveries and log; contents of actions to operators only.

        Of a run that has done very much the newest of each are shown; `leftOut` names the lists that have more.
        """
        async with db.tenant(holder.tenant) as conn:
            timeline = await run_timeline(conn, run_id, bounded=True)
            if timeline is None:
                raise refusal("RUN_NOT_FOUND", f"this tenant has no run {run_id!r}", "path.run_id")
            shown: dict[str, Any] = (await get_redaction(conn)).shown(timeline.to_json())
        return shown if holder.role == "operator" else without_contents(shown)

    @router.post(
        "/{run_id}/cancel",
        status_code=202,
        response_model=CancelRequested,
        responses=refused(404, 409, 413, 415, 422, 503),
    )
    async def cancel_run(
        run_id: Name, body: CancelRun, holder: Annotated[TokenHolder, Depends(allowed("operator"))]
    ) -> Any:
        """Ask a run to end as CANCELED."""
        await launcher.cancel(holder.tenant, run_id, f"{body.reason} (token {holder.name})")
        return CancelRequested(run_id=run_id, cancel_requested=True)

    return router


def _run_id_of(tenant: str, idempotency_key: str) -> str:
    return str(uuid.uuid5(_RUN_IDS, f"{tenant}\x1f{idempotency_key}"))


async def _start(db: Database, launcher: Launcher, request: LaunchRequest, *, has_key: bool) -> tuple[int, StartedRun]:
    """The answer's status and body.

    Raises:
        Refused: `IDEMPOTENCY_KEY_REUSED`; else as the launch is refused.
    """
    known = has_key and await _row_of(db, request) is not None
    try:
        launched = await launcher.launch(request)
    except (TemporalUnavailable, SearchAttributesMissing):
        row = await _row_of(db, request)
        if row is None or row.status != "STARTING":
            raise
        # It is recorded, and the reconciler starts it: to be told to try again would start a second one.
        return 202, StartedRun(
            run_id=row.run_id,
            workflow_id=row.workflow_id,
            workflow_version=row.workflow_version,
            status=row.status,
            created=not known,
            polled=None,
        )
    except Refused as error:
        if not has_key or error.code != "RUN_ID_TAKEN":
            raise
        message = f"the key has started run {request.run_id} of another workflow, version or payload; take a new key"
        raise refusal("IDEMPOTENCY_KEY_REUSED", message, "header.idempotency-key") from None
    return 201 if launched.created else 200, _started(launched)


async def _row_of(db: Database, request: LaunchRequest) -> RunRow | None:
    async with db.tenant(request.tenant) as conn:
        return await get_run(conn, str(request.run_id))


def _started(launched: LaunchedRun) -> StartedRun:
    return StartedRun(
        run_id=launched.run_id,
        workflow_id=launched.workflow_id,
        workflow_version=launched.workflow_version,
        status=launched.status,
        created=launched.created,
        polled=launched.polled,
    )


def _cursor(cursor: Cursor) -> str:
    return base64.urlsafe_b64encode(cursor.model_dump_json().encode()).decode().rstrip("=")


def _read_cursor(text: str) -> tuple[Any, str]:
    try:
        padded = text + "=" * (-len(text) % 4)
        found = Cursor.model_validate_json(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValidationError, ValueError, binascii.Error):
        raise refusal("CURSOR_INVALID", "is none that this API gave; begin without one", "query.cursor") from None
    return found.at, found.run_id
