"""The activities that start and cancel child runs, and how the driver calls them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from workflows_core.errors import ErrorCategory, Failure, Refused, StepFailed
from workflows_core.execution.durably import durably
from workflows_core.execution.payloads import decode, encode
from workflows_core.launching.launcher import Launcher
from workflows_core.launching.problems import SearchAttributesMissing, TemporalUnavailable
from workflows_core.launching.request import LaunchRequest
from workflows_core.storage.begun_runs import require_own
from workflows_core.storage.database import Database
from workflows_core.storage.runs import lineage
from workflows_core.wire import names

MAX_DEPTH = 10
"""Runs above a run: a workflow that calls itself ends here."""


@dataclass(frozen=True, slots=True)
class ChildRunActivities:
    """Starts and cancels child runs; for the worker of the authored queue."""

    db: Database
    launcher: Launcher

    @activity.defn(name=names.ACTIVITY_LAUNCH_CHILD)
    async def launch(self, raw: RawValue) -> RawValue:
        """Starts a child run; doing it again changes nothing."""
        await durably(lambda: self._launch(decode(raw)))
        return encode(None)

    @activity.defn(name=names.ACTIVITY_CANCEL_CHILD)
    async def cancel(self, raw: RawValue) -> RawValue:
        """Asks a child run to end; one that has ended already is as good."""
        await durably(lambda: self._cancel(decode(raw)))
        return encode(None)

    async def _launch(self, wanted: dict[str, Any]) -> None:
        parent = wanted["parentRunId"]
        if "generation" in wanted:  # A worker of the build before does not say which.
            # One that was reset would start what its own execution did not, such as a child that undoes.
            execution = activity.info().workflow_run_id or ""
            await require_own(self.db, wanted["tenant"], parent, wanted["generation"], execution)
        async with self.db.tenant(wanted["tenant"]) as conn:
            above = await lineage(conn, parent)
        if len(above) >= MAX_DEPTH:
            message = (
                f"run {parent} has {len(above) - 1} runs above it, which is the limit: does a workflow call itself?"
            )
            raise StepFailed(_failure("CHILD_TOO_DEEP", message, wanted))
        request = LaunchRequest(
            tenant=wanted["tenant"],
            workflow=wanted["workflowId"],
            version=wanted["workflowVersion"],
            payload=wanted["payload"],
            run_id=wanted["childRunId"],
            execution_key=f"{parent}:child:{wanted['childRunId']}",
            parent_run_id=parent,
            root_run_id=above[-1] if above else parent,
        )
        try:
            launched = await self.launcher.launch(request)
        except (TemporalUnavailable, SearchAttributesMissing) as error:
            raise _again(error) from error
        except Refused as error:
            raise StepFailed(_failure(error.code, f"the child was not started: {error.sentence}", wanted)) from error
        if launched.status == "FAILED" and launched.temporal_run_id is None:
            message = f"run {launched.run_id} could not be launched; its row says why"
            raise StepFailed(_failure("LAUNCH_REJECTED", message, wanted))

    async def _cancel(self, wanted: dict[str, Any]) -> None:
        try:
            await self.launcher.cancel_unneeded(wanted["tenant"], wanted["childRunId"], wanted["reason"])
        except TemporalUnavailable as error:
            raise _again(error) from error


def _failure(code: str, message: str, wanted: dict[str, Any]) -> Failure:
    details = {name: wanted[name] for name in ("workflowId", "workflowVersion", "childRunId")}
    return Failure(ErrorCategory.CHILD_WORKFLOW, message, code=code, details=details)


def _again(error: Refused) -> ApplicationError:
    return ApplicationError(
        error.message,
        type=error.code,
        next_retry_delay=timedelta(seconds=2),
        category=ApplicationErrorCategory.BENIGN,
    )
