"""The activities of scheduled launches."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from workflows_core.execution.durably import durably
from workflows_core.execution.payloads import decode, encode
from workflows_core.launching.launcher import Launcher
from workflows_core.launching.problems import SearchAttributesMissing, TemporalUnavailable
from workflows_core.schedules.firing import fire, run_ended
from workflows_core.storage.database import Database
from workflows_core.wire import names


@dataclass(frozen=True, slots=True)
class ScheduleActivities:
    """Fires schedules and looks at their runs; for the worker of the authored queue."""

    db: Database
    launcher: Launcher

    @activity.defn(name=names.ACTIVITY_FIRE_SCHEDULE)
    async def fire(self, raw: RawValue) -> RawValue:
        """Launches the run of a firing; doing it again changes nothing."""
        call = decode(raw)

        async def work() -> dict[str, Any]:
            at = _time(call)
            try:
                fired = await fire(self.db, self.launcher, call["tenant"], call["scheduleId"], at, call["launchId"])
            except (TemporalUnavailable, SearchAttributesMissing) as error:
                raise ApplicationError(
                    error.message,
                    type=error.code,
                    next_retry_delay=timedelta(seconds=2),
                    category=ApplicationErrorCategory.BENIGN,
                ) from error
            found = asdict(fired)
            return {"outcome": found["outcome"], "runId": found["run_id"], "reason": found["reason"]}

        return encode(await durably(work))

    @activity.defn(name=names.ACTIVITY_WATCH_SCHEDULED_RUN)
    async def watch(self, raw: RawValue) -> RawValue:
        """The run's final status, None while it is open."""
        call = decode(raw)

        async def work() -> str | None:
            return await run_ended(self.db, call["tenant"], call["scheduleId"], call["runId"])

        return encode(await durably(work))


def _time(call: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(call["scheduledFor"] / 1000, UTC)
