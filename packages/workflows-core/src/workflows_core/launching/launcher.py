"""The one place that starts, signals and cancels authored runs.

A launch is a row STARTING, then the Temporal workflow under an id that never starts twice, then RUNNING.
Cut short anywhere it is finished by launching again with the same run id. At the workflow's limit of open runs the row
is QUEUED first, where the definition asks for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.common import (
    Priority,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from workflows_core.errors import ErrorCategory, Failure, Refused
from workflows_core.launching.admission import Admitted, admit, admit_again
from workflows_core.launching.ports import PollerProbe
from workflows_core.launching.problems import (
    LaunchRejected,
    RunNotRunning,
    SearchAttributesMissing,
    TemporalUnavailable,
    is_not_there,
)
from workflows_core.launching.request import LaunchedRun, LaunchRequest, checked_reason, checked_run_id
from workflows_core.storage.database import Database
from workflows_core.storage.queued_runs import cancel_queued
from workflows_core.storage.rows import RunRow
from workflows_core.storage.run_logs import append_log
from workflows_core.storage.runs import get_run, mark_launch_failed, mark_running
from workflows_core.wire import names
from workflows_core.wire.messages import EventSignal, RunInput
from workflows_core.wire.records import FINAL_RUN_STATUSES

__all__ = ["LaunchPolicy", "LaunchRequest", "LaunchedRun", "Launcher", "PollerProbe"]

TENANT_KEY = SearchAttributeKey.for_keyword(names.SEARCH_TENANT)
WORKFLOW_KEY = SearchAttributeKey.for_keyword(names.SEARCH_WORKFLOW)
VERSION_KEY = SearchAttributeKey.for_int(names.SEARCH_VERSION)
PARENT_KEY = SearchAttributeKey.for_keyword(names.SEARCH_PARENT)


@dataclass(frozen=True, slots=True)
class LaunchPolicy:
    """How runs are started.

    Attributes:
        execution_timeout: Limit of a run's whole life; None by default, since a wait may last for ever.
        run_timeout: Limit of one execution between two continue-as-new.
        rpc_seconds: How long Temporal may take to answer.
        eager_start: The first workflow task comes back with the start, where this client has a worker too.
    """

    execution_timeout: timedelta | None = None
    run_timeout: timedelta | None = None
    rpc_seconds: float = 5.0
    eager_start: bool = False


class Launcher:
    """Starts, signals and cancels runs.

    Args:
        db: The database, as the application role.
        client: Connected to the namespace of authored runs.
        policy: Limits.
        prober: Says whether anybody polls, so that a launch can tell; optional.
    """

    def __init__(
        self,
        db: Database,
        client: Client,
        policy: LaunchPolicy | None = None,
        *,
        prober: PollerProbe | None = None,
    ) -> None:
        self._db = db
        self._client = client
        self._policy = policy or LaunchPolicy()
        self._prober = prober

    async def launch(self, request: LaunchRequest) -> LaunchedRun:
        """Starts or queues a run, or finishes the launch of one that is STARTING; any other is answered as it is.

        Raises:
            Refused: The request is refused (`LAUNCH_INVALID`, `WORKFLOW_UNKNOWN`, `WORKFLOW_VERSION_UNKNOWN`,
                `WORKFLOW_NOT_PUBLISHED`, `WORKFLOW_PAUSED`, `CONCURRENCY_LIMIT_REACHED`, `RUN_ID_TAKEN`,
                `PAYLOAD_INVALID`): nothing is left behind.
            TemporalUnavailable: The run is STARTING; launch it again with the same id.
            SearchAttributesMissing: As above, once the namespace is set up.
            LaunchRejected: Temporal refused this run for good; it is FAILED.
        """
        run_id = checked_run_id(request)
        async with self._db.tenant(request.tenant) as conn:
            admitted = await admit(conn, request, run_id)
        return await self._launch(request.tenant, admitted)

    async def resume(self, tenant: str, run_id: str) -> LaunchedRun:
        """Starts a run that is QUEUED if there is room now; finishes the launch of one that is STARTING.

        Raises:
            Refused: `RUN_NOT_FOUND`; else as `launch`, after its checks.
        """
        async with self._db.tenant(tenant) as conn:
            admitted = await admit_again(conn, run_id)
        if admitted is None:
            raise Refused.one("RUN_NOT_FOUND", f"this tenant has no run {run_id!r}", "runId")
        return await self._launch(tenant, admitted)

    async def _launch(self, tenant: str, admitted: Admitted) -> LaunchedRun:
        row = admitted.row
        if row.status != "STARTING":
            return await self._launched(row, created=admitted.created)
        try:
            first = await self._start(tenant, admitted)
        except (TemporalUnavailable, SearchAttributesMissing):
            raise
        except Refused as error:
            failure = Failure(ErrorCategory.VALIDATION, error.sentence, code=error.code, details={"stage": "launch"})
            async with self._db.tenant(tenant) as conn:
                await mark_launch_failed(conn, row.run_id, failure)
            await self.tell_schedule(row)
            raise
        marked = await mark_running(self._db, tenant, row.run_id, first)
        return await self._launched(marked or row, created=admitted.created)

    async def signal(self, run_id: str, signal: EventSignal) -> None:
        """Sends an event to a run.

        Raises:
            RunNotRunning: Temporal has no open execution of it.
            TemporalUnavailable: Try again.
            RPCError: Temporal refused the signal itself.
        """
        async with self._rpc(f"signalling run {run_id}", run_id):
            await self._handle(run_id).signal(names.SIGNAL_EVENT, signal.to_wire())

    async def cancel(self, tenant: str, run_id: str, reason: str) -> None:
        """Asks a run to end as CANCELED; who asked, and why, is in its log. One that is QUEUED ends at once.

        Raises:
            Refused: `RUN_NOT_FOUND`, `RUN_ENDED`, `CANCEL_REASON_MISSING`.
            RunNotRunning: Temporal has no open execution of it.
            TemporalUnavailable: Try again.
        """
        line = f"cancel requested: {checked_reason(reason, 'CANCEL_REASON_MISSING', 'reason')}"
        async with self._db.tenant(tenant) as conn:
            row = await get_run(conn, run_id)
            if row is None:
                raise Refused.one("RUN_NOT_FOUND", f"this tenant has no run {run_id!r}", "runId")
            if row.status in FINAL_RUN_STATUSES:
                raise Refused.one("RUN_ENDED", f"run {run_id} has ended already: it is {row.status}", "runId")
            never_began = Failure(ErrorCategory.CANCELLATION, "the run was cancelled before it started")
            if was_queued := await cancel_queued(conn, run_id, never_began):
                await append_log(conn, run_id, line)
        if was_queued:
            await self.tell_schedule(row)
            return
        if row.status in ("QUEUED", "STARTING"):
            # Whether the id is this tenant's in Temporal as well is not known before the run is RUNNING; one that was
            # QUEUED has just left its queue.
            await self._check_owner(tenant, run_id)
        async with self._rpc(f"cancelling run {run_id}", run_id):
            await self._handle(run_id).cancel()
        async with self._db.tenant(tenant) as conn:
            await append_log(conn, run_id, line)

    async def cancel_unneeded(self, tenant: str, run_id: str, reason: str) -> None:
        """As `cancel`; a run that has ended already, or was never there, is as good.

        Raises:
            TemporalUnavailable: Try again.
        """
        try:
            await self.cancel(tenant, run_id, reason)
        except RunNotRunning:
            return
        except Refused as error:
            if error.code not in ("RUN_ENDED", "RUN_NOT_FOUND"):
                raise

    async def tell_schedule(self, row: RunRow) -> None:
        """Tells the launch that waits for the end of a run, which cannot tell it itself; for runs of schedules.

        Nobody has to hear it: the launch looks for itself, but maybe after an hour, and its schedule waits for it.
        """
        trigger = row.trigger_metadata_json
        launch = trigger.get("scheduledLaunchId") if isinstance(trigger, dict) else None
        if isinstance(launch, str):
            with suppress(Refused, RPCError):
                async with self._rpc(f"telling launch {launch}", row.run_id):
                    await self._client.get_workflow_handle(launch).signal(names.SIGNAL_RUN_ENDED, row.run_id)

    async def _start(self, tenant: str, admitted: Admitted) -> str | None:
        """Starts the workflow; the id of its first execution."""
        row, key = admitted.row, admitted.key
        body = RunInput(
            run_id=row.run_id,
            tenant_id=tenant,
            workflow_id=row.workflow_id,
            workflow_version=row.workflow_version,
            trigger_type=row.trigger_type,
            execution_key=admitted.kept.get("executionKey", f"launch-{row.run_id}"),
            checkpoint=admitted.kept.get("checkpoint"),
        )
        attributes: list[SearchAttributePair[Any]] = [
            SearchAttributePair(TENANT_KEY, tenant),
            SearchAttributePair(WORKFLOW_KEY, key),
            SearchAttributePair(VERSION_KEY, row.workflow_version),
        ]
        if row.parent_run_id is not None:
            attributes.append(SearchAttributePair(PARENT_KEY, row.parent_run_id))
        try:
            async with self._rpc(f"starting run {row.run_id}", row.run_id):
                handle = await self._client.start_workflow(
                    names.RUN_WORKFLOW,
                    body.to_wire(),
                    id=row.temporal_workflow_id,
                    task_queue=names.AUTHORED_QUEUE,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    execution_timeout=self._policy.execution_timeout,
                    run_timeout=self._policy.run_timeout,
                    search_attributes=TypedSearchAttributes(attributes),
                    static_summary=f"{key} v{row.workflow_version}",
                    priority=Priority(fairness_key=tenant[:64]),
                    request_eager_start=self._policy.eager_start,
                )
        except WorkflowAlreadyStartedError as error:
            await self._check_owner(tenant, row.run_id)
            return error.first_run_id
        except RPCError as error:
            if "search attribute" in error.message.lower():
                raise SearchAttributesMissing(self._client.namespace, error.message) from error
            raise LaunchRejected(row.run_id, error.message) from error
        return handle.first_execution_run_id

    async def _check_owner(self, tenant: str, run_id: str) -> None:
        """Ids of Temporal workflows know no tenants: another tenant's run of this id is not ours."""
        async with self._rpc(f"looking at run {run_id}", run_id):
            found = await self._handle(run_id).describe()
        owner = found.typed_search_attributes.get(TENANT_KEY)
        if owner is not None and owner != tenant:
            raise Refused.one("RUN_ID_TAKEN", f"the id {run_id} is in use: choose another one", "runId")

    def _handle(self, run_id: str) -> WorkflowHandle[Any, Any]:
        return self._client.get_workflow_handle(names.workflow_id_of(run_id))

    async def _launched(self, row: RunRow, *, created: bool) -> LaunchedRun:
        return LaunchedRun(
            run_id=row.run_id,
            workflow_id=row.workflow_id,
            workflow_version=row.workflow_version,
            status=row.status,
            temporal_workflow_id=row.temporal_workflow_id,
            temporal_run_id=row.temporal_run_id,
            created=created,
            polled=None if self._prober is None else await self._prober.is_polled(names.AUTHORED_QUEUE),
        )

    @asynccontextmanager
    async def _rpc(self, what: str, run_id: str) -> AsyncIterator[None]:
        """Gives failures of a call to Temporal their meaning; a refusal of its content passes through."""
        try:
            async with asyncio.timeout(self._policy.rpc_seconds):
                yield
        except RPCError as error:
            if error.status == RPCStatusCode.INVALID_ARGUMENT:
                raise
            if is_not_there(error):
                raise RunNotRunning(run_id) from error
            raise TemporalUnavailable(what, error.message) from error
        except TimeoutError as error:
            raise TemporalUnavailable(what, f"no answer within {self._policy.rpc_seconds:g} s") from error
