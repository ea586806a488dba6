"""The Temporal Schedule of a row, and the loop that makes Temporal follow the rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from temporalio.api.common.v1 import Payload
from temporalio.api.workflowservice.v1 import ListScheduleMatchingTimesRequest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleCalendarSpec,
    ScheduleDescription,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.common import Priority
from temporalio.service import RPCError, RPCStatusCode

from workflows_core.launching.passes import repeat
from workflows_core.launching.problems import is_not_there
from workflows_core.progress import LoopProgress
from workflows_core.storage.database import Database
from workflows_core.storage.schedules import (
    OverlapPolicy,
    ScheduleRow,
    change_schedule,
    get_schedule,
    mark_synced,
    remove_deleted,
    schedules_behind,
)
from workflows_core.wire import names

CATCH_UP = timedelta(hours=1)
"""A firing that Temporal missed by less than this is made up for."""

_OVERLAPS: dict[OverlapPolicy, ScheduleOverlapPolicy] = {
    "skip": ScheduleOverlapPolicy.SKIP,
    "buffer_one": ScheduleOverlapPolicy.BUFFER_ONE,
    "buffer_all": ScheduleOverlapPolicy.BUFFER_ALL,
    "cancel_other": ScheduleOverlapPolicy.CANCEL_OTHER,
    # Stored by builds that offered it. Temporal would terminate the launch, which could not end its run any more.
    "terminate_other": ScheduleOverlapPolicy.CANCEL_OTHER,
    "allow_all": ScheduleOverlapPolicy.ALLOW_ALL,
}
_MADE_UP: dict[OverlapPolicy, ScheduleOverlapPolicy] = _OVERLAPS | {
    "cancel_other": ScheduleOverlapPolicy.ALLOW_ALL,
    "terminate_other": ScheduleOverlapPolicy.ALLOW_ALL,
}
"""Of a firing that is made up for: it never ends the run that Temporal may start for that very time just now."""

_ANSWER = timedelta(seconds=5)

_FIRST = ("", "")
"""Before every schedule: tenant and id are never empty."""

_log = logging.getLogger(__name__)


def temporal_schedule(row: ScheduleRow) -> Schedule:
    """What Temporal is to do for a row."""
    action = ScheduleActionStartWorkflow(
        names.SCHEDULED_LAUNCH_WORKFLOW,
        {"tenantId": row.tenant, "scheduleId": row.id},
        id=f"workflow-runtime-v2:scheduled:{row.tenant}:{row.id}",
        task_queue=names.AUTHORED_QUEUE,
        static_summary=row.name,
        priority=Priority(fairness_key=row.tenant[:64]),
    )
    once = row.run_at is not None
    return Schedule(
        action=action,
        spec=ScheduleSpec(calendars=[_only_at(row.moment)])
        if row.moment is not None
        else ScheduleSpec(cron_expressions=[row.cron or ""], time_zone_name=row.timezone),
        policy=SchedulePolicy(overlap=_OVERLAPS[row.overlap_policy], catchup_window=CATCH_UP),
        state=ScheduleState(
            paused=not row.enabled,
            note=row.last_error or row.name,
            limited_actions=once,
            # Also while it is paused, which is what keeps it from firing: the SDK refuses a limit of none.
            remaining_actions=1 if once else 0,
        ),
    )


def _only_at(utc: datetime) -> ScheduleCalendarSpec:
    def only(value: int) -> Sequence[ScheduleRange]:
        return (ScheduleRange(value),)

    return ScheduleCalendarSpec(
        second=only(utc.second),
        minute=only(utc.minute),
        hour=only(utc.hour),
        day_of_month=only(utc.day),
        month=only(utc.month),
        year=only(utc.year),
    )


async def matching_times(client: Client, row: ScheduleRow, start: datetime, end: datetime) -> list[datetime]:
    """When Temporal would fire after one time and until another, whatever the day filter says: the first thousand.

    Raises:
        RPCError: Temporal does not know the schedule, or does not answer.
    """
    request = ListScheduleMatchingTimesRequest(namespace=client.namespace, schedule_id=row.runner_schedule_id)
    request.start_time.FromDatetime(start.astimezone(UTC))
    request.end_time.FromDatetime(end.astimezone(UTC))
    answer = await client.workflow_service.list_schedule_matching_times(request)
    return [stamp.ToDatetime(tzinfo=UTC) for stamp in answer.start_time]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a schedule stands in Temporal.

    Attributes:
        skipped_overlap: Firings that were left out since the run of one before was open; counted since it was made.
        missed: Firings that came while Temporal was away, and were not made up for.
        launches: Temporal ids of the launches whose runs are open.
        leaves_out: Whether a firing now would be left out.
    """

    skipped_overlap: int
    missed: int
    launches: Sequence[str]
    leaves_out: bool


async def standing(client: Client, row: ScheduleRow) -> Standing | None:
    """How it stands; None when Temporal does not have it, or not any more.

    Raises:
        RPCError: Temporal does not answer.
    """
    try:
        found = await client.get_schedule_handle(row.runner_schedule_id).describe(rpc_timeout=_ANSWER)
    except RPCError as error:
        if is_not_there(error):
            return None
        raise
    launches = [launch.workflow_id for launch in found.raw_description.info.running_workflows]
    overlap, waiting = found.schedule.policy.overlap, found.raw_description.info.buffer_size > 0
    full = overlap == ScheduleOverlapPolicy.SKIP or (overlap == ScheduleOverlapPolicy.BUFFER_ONE and waiting)
    counts = found.info
    return Standing(
        counts.num_actions_skipped_overlap,
        counts.num_actions_missed_catchup_window,
        launches,
        leaves_out=bool(launches) and full,
    )


@dataclass(slots=True)
class ScheduleSync:
    """Makes Temporal follow the rows; several processes do no harm, since each writes until the row stays as written.

    Attributes:
        db: The database, as the application role.
        client: Connected to the namespace of authored runs.
        every_seconds: Between two passes over what has changed.
        all_every_seconds: Between the end of a walk through everything and the next one.
        batch_size: Schedules of one page; a pass takes one of a walk through everything, so that changes do not wait.
    """

    db: Database
    client: Client
    every_seconds: float = 5.0
    all_every_seconds: float = 600.0
    batch_size: int = 1000
    _next_all: float = field(default=0.0)
    _after: tuple[str, str] = field(default=_FIRST)

    async def run(self, progress: LoopProgress) -> None:
        """Passes until cancelled."""
        await repeat(self._next_pass, progress, self.every_seconds, told=lambda done: f"{done} written" if done else "")

    async def _next_pass(self) -> int:
        done = await self.one_pass()
        if self._after == _FIRST and time.monotonic() < self._next_all:
            return done
        written, self._after = await self._page(self._after, everything=True)
        if self._after == _FIRST:
            self._next_all = time.monotonic() + self.all_every_seconds
        return done + written

    async def one_pass(self, *, everything: bool = False) -> int:
        """How many Temporal Schedules were written, of those that are behind or of all.

        Raises:
            RPCError: Temporal does not answer.
            Exception: The database is away.
        """
        done, after = await self._page(_FIRST, everything=everything)
        while after != _FIRST:
            written, after = await self._page(after, everything=everything)
            done += written
        return done

    async def _page(self, after: tuple[str, str], *, everything: bool) -> tuple[int, tuple[str, str]]:
        """How many were written, and where the next page begins: `_FIRST` when this was the last one."""
        async with self.db.narrow() as conn:
            found = await schedules_behind(conn, everything=everything, limit=self.batch_size, after=after)
        done = sum([await self.sync(tenant, schedule_id) for tenant, schedule_id in found])
        return done, found[-1] if len(found) == self.batch_size else _FIRST

    async def sync(self, tenant: str, schedule_id: str) -> bool:
        """Makes Temporal follow one row; False when nothing was to be done.

        What this writes may be out of date by then, and newer than that of another process whose write it overtakes or
        undoes. Whoever writes last reads the row again last, so that one puts it right.
        """
        async with self.db.tenant(tenant) as conn:
            row = await get_schedule(conn, schedule_id)
        if row is None or await self._is_followed(row):
            return False
        runner_schedule_id = row.runner_schedule_id
        while True:
            if row is None or row.status == "deleted":
                await self._delete(runner_schedule_id)
            elif not await self._write(row):
                return False
            async with self.db.tenant(tenant) as conn:
                if row is not None and await mark_synced(conn, row):
                    await remove_deleted(conn, schedule_id)
                    break
                was_gone, row = row is None, await get_schedule(conn, schedule_id)
            if was_gone and row is None:
                break
        extra = {"event": "schedule_synced", "tenant": tenant}
        _log.info("schedule %s is %s in Temporal", schedule_id, "deleted" if row is None else row.status, extra=extra)
        return True

    async def _write(self, row: ScheduleRow) -> bool:
        """False when Temporal will never take it, and the row says so."""
        wanted = temporal_schedule(row)

        def update(_: ScheduleUpdateInput) -> ScheduleUpdate:
            return ScheduleUpdate(schedule=wanted)

        try:
            try:
                await self.client.create_schedule(row.runner_schedule_id, wanted)
            except ScheduleAlreadyRunningError:
                await self.client.get_schedule_handle(row.runner_schedule_id).update(update)
        except RPCError as error:
            if error.status != RPCStatusCode.INVALID_ARGUMENT:
                raise
            return not await self._refused(row, error.message)
        if _is_due(row):
            # Before the row is marked: whoever finds it unmarked comes here again, so that a crash loses nothing.
            await self._make_up(row, await self.client.get_schedule_handle(row.runner_schedule_id).describe())
        return True

    async def _make_up(self, row: ScheduleRow, described: ScheduleDescription) -> None:
        """Fires a schedule whose one time is over and was missed; fails it when that is too long ago.

        Temporal counts from the moment at which it gets a schedule, and lets what was before that pass in silence.
        """
        moment = row.moment
        waiting = described.raw_description.info.buffer_size > 0
        started = any(one.scheduled_at == moment for one in described.info.recent_actions)
        # By Temporal's own clock, which may be behind this process's, it may still be to come.
        to_come = moment in described.info.next_action_times
        if moment is None or waiting or started or to_come:
            return
        if datetime.now(UTC) - moment < CATCH_UP:
            span = ScheduleBackfill(start_at=moment, end_at=moment, overlap=_MADE_UP[row.overlap_policy])
            await self.client.get_schedule_handle(row.runner_schedule_id).backfill(span)
            return
        reason = f"its time, {moment.isoformat()}, passed before Temporal had it, or while Temporal was away"
        async with self.db.tenant(row.tenant) as conn:
            await change_schedule(conn, row.id, enabled=False, status="failed", error=reason, read=row)

    async def _refused(self, row: ScheduleRow, reason: str) -> bool:
        """Temporal will never take it: it is failed, and stops no other. False when it has changed meanwhile."""
        error = f"Temporal refused it: {reason}"
        async with self.db.tenant(row.tenant) as conn:
            if not await change_schedule(conn, row.id, enabled=False, status="failed", error=error, read=row):
                return False
            changed = await get_schedule(conn, row.id)
            await mark_synced(conn, changed or row)
        extra = {"event": "schedule_refused", "tenant": row.tenant}
        _log.warning("Temporal refused schedule %s: %s", row.id, reason, extra=extra)
        return True

    async def _delete(self, runner_schedule_id: str) -> None:
        try:
            await self.client.get_schedule_handle(runner_schedule_id).delete()
        except RPCError as error:
            if not is_not_there(error):
                raise

    async def _is_followed(self, row: ScheduleRow) -> bool:
        if row.status == "deleted" or row.synced_revision < row.revision:
            return False
        if row.status == "completed":
            return True
        try:
            described = await self.client.get_schedule_handle(row.runner_schedule_id).describe()
        except RPCError as error:
            if is_not_there(error):
                return False
            raise
        if described.schedule.policy.overlap is not _OVERLAPS[row.overlap_policy]:
            return False
        if described.schedule.state.paused is row.enabled:
            return False
        if not await self._is_encoded_as_ours(described.schedule):
            return False
        if _is_due(row):
            await self._make_up(row, described)
        return True

    async def _is_encoded_as_ours(self, schedule: Schedule) -> bool:
        """Whether what its firings begin with is plain, or has the key, as what is written now.

        Temporal keeps it as it was made for as long as there is the schedule, whose key may go before that.
        """
        (ours,) = await self.client.data_converter.encode([{}])
        given = schedule.action.args if isinstance(schedule.action, ScheduleActionStartWorkflow) else ()
        return all(isinstance(one, Payload) and one.metadata == ours.metadata for one in given)


def _is_due(row: ScheduleRow) -> bool:
    """Whether it is for one time, and that has come."""
    return row.moment is not None and row.enabled and row.moment <= datetime.now(UTC)
