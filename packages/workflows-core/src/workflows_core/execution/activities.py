"""The run's activities: load, write, and those that call actions.

Only regular activities write, because only their schedule is durable before they run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from workflows_core.actions.action import Place
from workflows_core.actions.ports import ActionObserver, SecretProvider, StepQuota
from workflows_core.actions.registry import ActionRegistry
from workflows_core.errors import StepFailed
from workflows_core.execution.child_runs import ChildRunActivities
from workflows_core.execution.clock_lead import ClockLead
from workflows_core.execution.compiled_plans import PLANS
from workflows_core.execution.durably import durably
from workflows_core.execution.failures import action_unavailable, quota_exceeded
from workflows_core.execution.last_action import LastAction
from workflows_core.execution.load import RunLoader
from workflows_core.execution.lost_rows import with_row
from workflows_core.execution.payloads import decode, encode
from workflows_core.execution.policy import RunPolicy
from workflows_core.execution.regular_action import RegularAction
from workflows_core.execution.schedule_activities import ScheduleActivities
from workflows_core.execution.short_actions import ShortActions
from workflows_core.launching.launcher import Launcher
from workflows_core.log_context import about
from workflows_core.storage import last_actions
from workflows_core.storage.database import Database
from workflows_core.storage.run_writes import write_run
from workflows_core.wire import names
from workflows_core.wire.compact import full_call, full_write
from workflows_core.wire.compact_last_calls import compact_answer
from workflows_core.wire.compact_loads import compact_loaded
from workflows_core.wire.messages import RunInput
from workflows_core.wire.records import RunWrite

_T = TypeVar("_T")
_ELSEWHERE_RETRY = timedelta(seconds=1)
_COUNTED = "counted"
"""Told by a start whose steps the quota has."""

ACTIVITY_NAMES = (
    names.ACTIVITY_CANCEL_CHILD,
    names.ACTIVITY_FIND_ACTION,
    names.ACTIVITY_FINISH,
    names.ACTIVITY_FIRE_SCHEDULE,
    names.ACTIVITY_LAUNCH_CHILD,
    names.ACTIVITY_LOAD,
    names.ACTIVITY_REVOKE_LAST_ACTION,
    names.ACTIVITY_ACTION,
    names.ACTIVITY_LAST_ACTION,
    names.ACTIVITY_SHORT_ACTION,
    names.ACTIVITY_WATCH_SCHEDULED_RUN,
    names.ACTIVITY_WRITE,
)
"""What the worker of the authored queue registers, for banner and `describe`."""

APPLICATION_ACTIVITY_NAMES = (names.ACTIVITY_ACTION,)
"""What `RunActivities.application` registers."""


@dataclass(frozen=True, slots=True)
class RunActivities:
    """The activities of one process, over what it was built with."""

    db: Database
    registry: ActionRegistry
    secrets: SecretProvider
    policy: RunPolicy
    loader: RunLoader
    quota: StepQuota | None = None
    observe: ActionObserver | None = None
    clock_lead: ClockLead = field(default_factory=ClockLead)

    @classmethod
    def of(
        cls,
        db: Database,
        registry: ActionRegistry,
        secrets: SecretProvider,
        policy: RunPolicy,
        quota: StepQuota | None = None,
        observe: ActionObserver | None = None,
    ) -> RunActivities:
        """With a loader of their own."""
        return cls(db, registry, secrets, policy, RunLoader(db, registry, policy), quota, observe)

    def authored(self, launcher: Launcher) -> Sequence[Callable[..., Any]]:
        """For the worker of the authored queue, in a fixed order; the launcher starts child runs and scheduled ones."""
        children = ChildRunActivities(self.db, launcher)
        actions = (self.find_action, self.run_action, self.run_last_action, self.run_short_action)
        writes = (self.write, self.revoke_last_action, self.finish)
        schedules = ScheduleActivities(self.db, launcher)
        return (self.load, *actions, *writes, children.launch, children.cancel, schedules.fire, schedules.watch)

    def application(self) -> Sequence[Callable[..., Any]]:
        """For the worker of the application's queue: it calls actions and does nothing else for a run."""
        return (self.run_action,)

    @activity.defn(name=names.ACTIVITY_LOAD)
    async def load(self, raw: RawValue) -> RawValue:
        """Definition, payload and traits of the run's actions; reads only."""
        body = decode(raw)
        run_input, started_at = RunInput.from_wire(body), body["executionStartedAt"]
        with about(tenant=run_input.tenant_id, run_id=run_input.run_id, workflow_id=run_input.workflow_id):
            loaded = await durably(lambda: self.loader.load(run_input, started_at, body.get("continuedFrom")))
            if PLANS.find(loaded["definition_hash"]) is None:
                with suppress(Exception):  # The run itself will tell.
                    await asyncio.wrap_future(PLANS.compiling(loaded["definition"], loaded["definition_hash"]))
            return encode(compact_loaded(loaded))

    @activity.defn(name=names.ACTIVITY_FIND_ACTION)
    async def find_action(self, raw: RawValue) -> RawValue:
        """Who serves an action; reads only."""
        wanted = decode(raw)
        at = wanted.get("at")  # A worker of the build before does not say where.
        place = None if at is None else Place(at)
        return encode(await durably(lambda: self.loader.find(wanted["id"], wanted["version"], place)))

    @activity.defn(name=names.ACTIVITY_ACTION)
    async def run_action(self, raw: RawValue) -> RawValue:
        """Calls an action and records it with what the run had pending."""
        call = full_call(decode(raw), activity.info().workflow_id or "")
        work = RegularAction(self.db, self.registry, self.secrets, self.policy, call, self.observe)
        with about(**_of_write(call["write"]), step_path=call["step_path"], action=call["action_id"]):
            return encode(await durably(lambda: self._run_here(work)))

    @activity.defn(name=names.ACTIVITY_LAST_ACTION)
    async def run_last_action(self, raw: RawValue) -> RawValue:
        """Calls an action as `run_action`, and writes the run's end with it where the action leads to that."""
        body = decode(raw)
        call = full_call(body["call"], activity.info().workflow_id or "")
        work = LastAction(self.db, self.registry, self.secrets, self.policy, call, self.observe, asked=body)
        with about(**_of_write(call["write"]), step_path=call["step_path"], action=call["action_id"]):
            return encode(compact_answer(await durably(lambda: self._run_here(work)), call["step_path"]))

    async def _run_here(self, work: RegularAction) -> Any:
        """Leaves a call that this process cannot run, and another one of its service can, to that one.

        Raises:
            StepFailed: `ActionUnavailable`: nobody can, or could of late.
        """
        action_id, version = work.call["action_id"], work.call["action_version"]
        if self.registry.get(action_id, version) is None:
            here = Place.APP if activity.info().task_queue == Place.APP.queue else Place.WORKER
            found = await self.loader.find(action_id, version, here)
            if found["traits"] is None:
                raise StepFailed(action_unavailable(action_id, version, found, called_at=here))
            raise ApplicationError(
                f"this process has no action {action_id}@{version}, another one has ({found['last_served_by']}); "
                "load the same packs in every process of a service",
                type="ActionElsewhere",
                next_retry_delay=_ELSEWHERE_RETRY,
                category=ApplicationErrorCategory.BENIGN,
            )
        if self.quota is not None and _COUNTED not in activity.info().heartbeat_details:
            write = work.call["write"]
            ended = sum(step["completed_at"] is not None and not step.get("kept") for step in write["steps"])
            refused = await self.quota.reserve(write["tenant"], write["run_id"], 1 + ended)
            if refused is not None:
                raise StepFailed(quota_exceeded(refused))
            # So that a start that Temporal repeats knows it: it counts no step again, nor is it refused one.
            activity.heartbeat(_COUNTED)
            work.heartbeat = (_COUNTED,)
        return await work.run()

    @activity.defn(name=names.ACTIVITY_SHORT_ACTION)
    async def run_short_action(self, raw: RawValue) -> RawValue:
        """Calls a short action, and those that follow; writes nothing."""
        short = ShortActions(self.registry, self.secrets, self.policy, self.observe)
        return encode(await short.answer(decode(raw)))

    @activity.defn(name=names.ACTIVITY_WRITE)
    async def write(self, raw: RawValue) -> RawValue:
        """Writes what the run had pending, its status and its open waits; answers what those waits may take already."""
        return await self._write(raw, hand_over=True)

    @activity.defn(name=names.ACTIVITY_REVOKE_LAST_ACTION)
    async def revoke_last_action(self, raw: RawValue) -> RawValue:
        """Takes back that an action may end its run, or answers that it has."""
        body, info = decode(raw), activity.info()
        write = full_write(body["write"], info.workflow_id or "")
        execution = info.workflow_run_id or ""
        with about(**_of_write(write)):
            return encode(await self._kept(lambda: last_actions.revoke(self.db, write, execution, body["end"])))

    @activity.defn(name=names.ACTIVITY_FINISH)
    async def finish(self, raw: RawValue) -> RawValue:
        """Writes the end of the run."""
        return await self._write(raw, hand_over=False)

    async def _write(self, raw: RawValue, *, hand_over: bool) -> RawValue:
        info = activity.info()
        write = full_write(decode(raw), info.workflow_id or "")
        write["temporal_ahead_ms"] = self.clock_lead.seen(info.started_time)
        execution = info.workflow_run_id or ""
        with about(**_of_write(write)):
            found = await self._kept(lambda: write_run(self.db, write, execution, hand_over=hand_over))
        return encode([signal.to_wire() for signal in found] or None)

    async def _kept(self, work: Callable[[], Awaitable[_T]]) -> _T:
        return await durably(lambda: with_row(self.db, work))


def _of_write(write: RunWrite) -> dict[str, str]:
    """What a log line is about that is written while this is recorded."""
    return {"tenant": write["tenant"], "run_id": write["run_id"]}
