"""Compares open runs with Temporal and repairs what a terminate, a time-out or a crash has left behind.

A run tells its end itself. One that Temporal has ended cannot: its row would say RUNNING for ever, its tasks and waits
stay open, its parent would wait. A launch that was cut short is finished.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from temporalio.api.errordetails.v1 import QueryFailedFailure, WorkflowNotReadyFailure
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowHistoryEventFilterType,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from workflows_core.errors import ErrorCategory, Failure, Refused
from workflows_core.launching.launcher import TENANT_KEY, Launcher
from workflows_core.launching.passes import repeat
from workflows_core.launching.problems import SearchAttributesMissing, TemporalUnavailable, is_not_there
from workflows_core.log_context import about
from workflows_core.progress import LoopProgress
from workflows_core.storage.database import Database
from workflows_core.storage.repairs import (
    ROWS_LOST,
    end_as_told,
    end_run,
    open_children,
    open_runs_of,
    quiet_launches,
    quiet_runs,
)
from workflows_core.storage.rows import RunRow
from workflows_core.storage.runs import get_run
from workflows_core.storage.statements import RunReset
from workflows_core.wire import names
from workflows_core.wire.records import FINAL_RUN_STATUSES, RunStatus

_log = logging.getLogger(__name__)
_AT_ONCE = 10
_LISTED_FOR: Final = timedelta(hours=1)
_MOST_LISTED: Final = 10_000
_ENDED_BY_TEMPORAL: Final = f"WorkflowType = '{names.RUN_WORKFLOW}' AND ExecutionStatus IN ('Terminated', 'TimedOut')"
"""Executions that have not told their end themselves."""
_BY_THEMSELVES: Final = (
    *(WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.FAILED),
    WorkflowExecutionStatus.CANCELED,  # A cancel is asked for, and the run itself ends with it.
)
_ASK_AGAIN: Final = {
    "PayloadUnreadable": "the process that was asked lacks a payload key",  # service_host.payload_codec
    "StillCompiling": "the process that was asked still compiles its definition",  # execution.plans
}
"""Types of what a worker's query fails with that cannot replay the history now."""


@dataclass(frozen=True, slots=True)
class ReconcilerPolicy:
    """How often, and how much.

    Attributes:
        every_seconds: Between two passes.
        quiet_seconds: A run whose row was written more recently is left alone.
        batch_size: Runs of one pass; the next pass goes on behind them.
        query_seconds: How long an ended run's history may take to say what the run took.
    """

    every_seconds: float = 30.0
    quiet_seconds: float = 60.0
    batch_size: int = 200
    query_seconds: float = 10.0


@dataclass(slots=True)
class Reconciler:
    """One process's reconciler; several do no harm, since an end is written once."""

    db: Database
    client: Client
    launcher: Launcher
    policy: ReconcilerPolicy = field(default_factory=ReconcilerPolicy)
    _after: tuple[str, str] = ("", "")
    _listed_after: tuple[str, str] = ("", "")

    async def run(self, progress: LoopProgress) -> None:
        """Passes until cancelled."""
        await repeat(self.one_pass, progress, self.policy.every_seconds, told=_in_words, passing=(Refused,))

    async def one_pass(self) -> Counter[str]:
        """Looks at launches that were cut short, at the next runs, and at those that Temporal lists as ended by it.

        Returns:
            How many were `looked at`, `ended`, `launched`, `rejected`, and `not answered for`, which is asked again.

        Raises:
            RPCError: Temporal does not answer.
            Exception: The database is away.
        """
        launches = await quiet_launches(self.db, self.policy.quiet_seconds, self.policy.batch_size)
        quiet = await quiet_runs(self.db, self.policy.quiet_seconds, self._after, self.policy.batch_size)
        self._after = self._next(quiet)
        now = dict.fromkeys((*launches, *quiet))
        done = await self._look_at(now)
        # Last: without the list, which another store of Temporal's answers, the rounds go on.
        listed = sorted(one for one in await self._listed_as_ended() if one not in now)
        # Round too: one that nobody answers for stays in the list.
        behind = [one for one in listed if one > self._listed_after][: self.policy.batch_size]
        self._listed_after = self._next(behind)
        return done + await self._look_at(behind)

    def _next(self, looked_at: Sequence[tuple[str, str]]) -> tuple[str, str]:
        """Behind what the next pass goes on, which begins anew behind the last ones."""
        return looked_at[-1] if len(looked_at) == self.policy.batch_size else ("", "")

    async def _look_at(self, runs: Iterable[tuple[str, str]]) -> Counter[str]:
        slots = asyncio.Semaphore(_AT_ONCE)
        done: Counter[str] = Counter()

        async def look(tenant: str, run_id: str) -> None:
            async with slots:
                with about(tenant=tenant, run_id=run_id):
                    done[await self._repair(tenant, run_id)] += 1

        looks = (look(*one) for one in runs)
        # Each is waited for, also where one fails: none goes on beside the next pass.
        for outcome in await asyncio.gather(*looks, return_exceptions=True):
            if outcome is not None:
                raise outcome
        return done

    async def _listed_as_ended(self) -> list[tuple[str, str]]:
        """Open runs that Temporal's list of executions, which may lag and be wrong, has as ended by it of late."""
        since = (datetime.now(UTC) - _LISTED_FOR).isoformat(timespec="seconds")
        listed: defaultdict[str, set[str]] = defaultdict(set)
        async for found in self.client.list_workflows(
            f"{_ENDED_BY_TEMPORAL} AND CloseTime > '{since}'", limit=_MOST_LISTED
        ):
            tenant, run_id = found.typed_search_attributes.get(TENANT_KEY), names.run_id_of(found.id)
            if tenant is not None and run_id is not None:
                listed[tenant].add(run_id)
        return [
            (tenant, run_id)
            for tenant, run_ids in listed.items()
            for run_id in await open_runs_of(self.db, tenant, run_ids)
        ]

    async def _repair(self, tenant: str, run_id: str) -> str:
        async with self.db.tenant(tenant) as conn:
            row = await get_run(conn, run_id)
        if row is None or row.status in FINAL_RUN_STATUSES:
            return "looked at"
        try:
            found = await self.client.get_workflow_handle(row.temporal_workflow_id).describe()
        except RPCError as error:
            if not is_not_there(error):
                raise
            if row.status != "STARTING":
                return await self._lost(tenant, row)
            return await self._end_unneeded(tenant, row) or await self._launch(tenant, row)
        if row.status == "STARTING":
            # Temporal has it, and the launch was cut short before it could say so; or the id is another tenant's.
            return await self._launch(tenant, row)
        ending = _ENDINGS.get(found.status or WorkflowExecutionStatus.RUNNING)
        if ending is None:
            return "looked at"
        status, category, what = ending
        failure = Failure(category, f"Temporal ended the run: it was {what}", code="RUN_ENDED_BY_TEMPORAL")
        try:
            own = await self._own_end(row, found.run_id) if found.status in _BY_THEMSELVES else None
            consumed = await self._consumed(row)
        except (RPCError, _Unreadable) as error:
            _log.warning(
                "run %s has ended, and Temporal does not say yet what it took: %s",
                row.run_id,
                error,
                extra={"event": "run_not_answered_for"},
            )
            return "not answered for"
        if isinstance(own, Failure) and own.category == ErrorCategory.RUN_RESET:
            # It was refused its first write, because the row is another execution's.
            reset = RunReset(f"run {row.run_id} was reset").message
            own, failure = None, Failure(ErrorCategory.RUN_RESET, reset, code="RUN_RESET")
        if own is not None:
            told = status if isinstance(own, Failure) else "SUCCEEDED"
            return await self._end_as_told(tenant, row, told, own, found.run_id, consumed)
        return await self._end(tenant, row, status, failure, found.run_id, consumed)

    async def _own_end(self, row: RunRow, execution: str) -> Failure | dict[str, Any] | None:
        """What the run's last execution has ended itself with: why it gave none, or its result; None where it has not.

        It wrote that before, so a row without it is one of a database that has lost it.

        Raises:
            RPCError: Temporal does not answer.
            _Unreadable: We cannot decrypt it.
        """
        handle = self.client.get_workflow_handle(row.temporal_workflow_id, run_id=execution)
        closing = WorkflowHistoryEventFilterType.CLOSE_EVENT
        try:
            async for event in handle.fetch_history_events(event_filter_type=closing):
                if event.HasField("workflow_execution_completed_event_attributes"):
                    completed = event.workflow_execution_completed_event_attributes
                    told = await self.client.data_converter.decode(completed.result.payloads)
                    return told[0] if told and isinstance(told[0], dict) else None
                if event.HasField("workflow_execution_failed_event_attributes"):
                    failed = event.workflow_execution_failed_event_attributes
                    return _failure_of(await self.client.data_converter.decode_failure(failed.failure))
                if event.HasField("workflow_execution_canceled_event_attributes"):
                    return Failure(ErrorCategory.CANCELLATION, "the run was cancelled")
        except RPCError:
            raise
        except Exception as error:
            # As of what it took.
            raise _Unreadable(str(error)) from error
        return None

    async def _launch(self, tenant: str, row: RunRow) -> str:
        try:
            launched = await self.launcher.resume(tenant, row.run_id)
        except (TemporalUnavailable, SearchAttributesMissing):
            raise
        except Refused as error:
            # One run's fault, which its row tells.
            extra = {"event": "run_rejected"}
            _log.warning("run %s was left STARTING and cannot start: %s", row.run_id, error.message, extra=extra)
            return "rejected"
        _log.warning(
            "run %s was left STARTING and is now %s", row.run_id, launched.status, extra={"event": "run_repaired"}
        )
        return "launched"

    async def _end_unneeded(self, tenant: str, row: RunRow) -> str | None:
        """Ends a child that was not started yet when its parent ended; None for any other."""
        async with self.db.tenant(tenant) as conn:
            parent = None if row.parent_run_id is None else await get_run(conn, row.parent_run_id)
        if parent is None or parent.status not in FINAL_RUN_STATUSES:
            return None
        message = f"run {parent.run_id}, which was about to start it, has ended"
        failure = Failure(ErrorCategory.CANCELLATION, message, code="PARENT_ENDED")
        return await self._end(tenant, row, "CANCELED", failure, "", [])

    async def _lost(self, tenant: str, row: RunRow) -> str:
        message = "Temporal knows nothing of the run any more: whether it went on after its last record is unknown"
        failure = Failure(ErrorCategory.UNKNOWN_OUTCOME, message, code="RUN_HISTORY_GONE")
        return await self._end(tenant, row, "FAILED", failure, row.temporal_run_id or "", None)

    async def _consumed(self, row: RunRow, execution: str | None = None) -> list[dict[str, Any]] | None:
        """What the closed run took and could not write any more; None when its history will never tell.

        Raises:
            RPCError: It may tell later: Temporal does not answer, or nobody polls who could replay the history.
            _Unreadable: As well: who was asked has not compiled it yet, or, as we, cannot decrypt what they are told.
        """
        handle = self.client.get_workflow_handle(row.temporal_workflow_id, run_id=execution)
        try:
            summary = await handle.query(
                names.QUERY_SUMMARY,
                rpc_timeout=timedelta(seconds=self.policy.query_seconds),
                result_type=dict[str, Any],
            )
            # One that ended before it was loaded took nothing.
            return list(summary.get("consumed", ()))
        except (RPCError, WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
            if isinstance(error, RPCError) and _began_nothing(error):
                # Nothing but what the execution before, which it goes on for, had still to write.
                before = await _continued_from(handle)
                return [] if before is None else await self._consumed(row, before)
            if isinstance(error, RPCError) and not is_not_there(error):
                raise
            if (lacks := _lacking(error)) is not None:
                raise _Unreadable(lacks) from error
            _log.warning(
                "run %s cannot say what it took: %s", row.run_id, error, extra={"event": "run_outcome_unknown"}
            )
            return None
        except Exception as error:
            # Of the client's codec: one run's answer ends no pass over the others.
            raise _Unreadable(str(error)) from error

    async def _end(
        self,
        tenant: str,
        row: RunRow,
        status: RunStatus,
        failure: Failure,
        execution: str,
        consumed: list[dict[str, Any]] | None,
    ) -> str:
        # Before its own end, which no later pass would look behind.
        await self._cancel_children(tenant, row.run_id)
        if not await end_run(self.db, tenant, row.run_id, status, failure, execution=execution, consumed=consumed):
            return "looked at"
        await self.launcher.tell_schedule(row)
        extra = {"event": "run_repaired"}
        _log.warning("run %s is now %s: %s", row.run_id, status, failure.message, extra=extra)
        return "ended"

    async def _end_as_told(
        self,
        tenant: str,
        row: RunRow,
        status: RunStatus,
        own: Failure | dict[str, Any],
        execution: str,
        consumed: list[dict[str, Any]] | None,
    ) -> str:
        # Its children had ended before, or it had cancelled them.
        if not await end_as_told(self.db, tenant, row.run_id, status, own, execution=execution, consumed=consumed):
            return "looked at"
        await self.launcher.tell_schedule(row)
        extra = {"event": "run_repaired"}
        _log.warning("run %s is now %s: %s", row.run_id, status, ROWS_LOST, extra=extra)
        return "ended"

    async def _cancel_children(self, tenant: str, run_id: str) -> None:
        for child in await open_children(self.db, tenant, run_id):
            await self.launcher.cancel_unneeded(tenant, child, f"run {run_id} was ended and does not need it any more")


def _failure_of(error: BaseException) -> Failure | None:
    """Why a run has failed, as it told Temporal; None for what it did not tell itself."""
    if isinstance(error, ApplicationError) and (error.type or "").startswith(names.FAILURE_TYPE_PREFIX):
        told = error.details[0] if error.details else None
        if isinstance(told, dict) and {"category", "message"} <= told.keys():
            return Failure.from_json(told)
    return None


class _Unreadable(Exception):
    """Indicates an answer that may be read later, such as with the keys that are missing now."""


def _lacking(error: BaseException) -> str | None:
    """What keeps the worker that was asked from the history, which another one, or it later, can read; else None."""
    refused = error.__context__
    for detail in refused.grpc_status.details if isinstance(refused, RPCError) else ():
        failed = QueryFailedFailure()
        failure = failed.failure if detail.Unpack(failed) else None
        while failure is not None:
            if (lacks := _ASK_AGAIN.get(failure.application_failure_info.type)) is not None:
                return lacks
            failure = failure.cause if failure.HasField("cause") else None
    return None


def _began_nothing(error: RPCError) -> bool:
    """Whether the execution was closed before it had a workflow task, so that there is nothing to replay."""
    return any(detail.Is(WorkflowNotReadyFailure.DESCRIPTOR) for detail in error.grpc_status.details)


async def _continued_from(handle: WorkflowHandle[Any, Any]) -> str | None:
    """The execution that a continue-as-new ended for this one; None for the first one."""
    async for event in handle.fetch_history_events(page_size=1):
        return event.workflow_execution_started_event_attributes.continued_execution_run_id or None
    return None


_ENDINGS: dict[WorkflowExecutionStatus, tuple[RunStatus, ErrorCategory, str]] = {
    WorkflowExecutionStatus.TERMINATED: ("FAILED", ErrorCategory.CANCELLATION, "terminated"),
    WorkflowExecutionStatus.CANCELED: ("CANCELED", ErrorCategory.CANCELLATION, "cancelled before it could record that"),
    WorkflowExecutionStatus.TIMED_OUT: ("FAILED", ErrorCategory.TIMEOUT, "timed out as a whole"),
    WorkflowExecutionStatus.FAILED: ("FAILED", ErrorCategory.UNKNOWN_OUTCOME, "failed without recording why"),
    WorkflowExecutionStatus.COMPLETED: ("FAILED", ErrorCategory.UNKNOWN_OUTCOME, "completed without recording that"),
}


def _in_words(done: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(done.items()))
