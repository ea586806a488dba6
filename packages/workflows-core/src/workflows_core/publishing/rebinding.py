"""The schedules of a workflow follow its newest version, in the transaction that publishes it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.definitions.model import Definition, RecurringTrigger, ScheduleTrigger
from workflows_core.errors import Problem
from workflows_core.publishing.contracts import payload_problems
from workflows_core.storage.rows import VersionRow
from workflows_core.storage.schedules import (
    ScheduleRow,
    WantedSchedule,
    bind_schedule,
    change_schedule,
    list_schedules,
    store_schedule,
)
from workflows_core.validation.builtin_schemas import CLOCK_TRIGGER

_TRIGGERS = uuid.UUID("7a1fd1f0-4f4c-5f0b-8d6e-1e5f6b0c9a27")


async def rebind_schedules(conn: AsyncConnection, version: VersionRow, definition: Definition) -> list[Problem]:
    """Stores the trigger's schedule, or deletes the one of an earlier version; binds the others to this version.

    A schedule whose payload does not keep to the version's schema fires no more, and says why.

    Returns:
        Warnings: of a trigger whose schedule an operator has paused, since it stays so, and ends with the trigger; and
        of each schedule that fires no more.
    """
    warnings = []
    wanted = _of_trigger(version.workflow_id, version.version, definition)
    if wanted is not None:
        await store_schedule(conn, wanted)
    for row in await list_schedules(conn, version.workflow_id):
        if row.origin == "operator":
            await bind_schedule(conn, row.id, version.version)
        elif wanted is None:
            await change_schedule(conn, row.id, enabled=False, status="deleted")
            if row.status == "paused":
                message = (
                    "its trigger's schedule, which is paused, ends with the trigger: a later version with one"
                    " has a schedule that fires"
                )
                warnings.append(Problem("SCHEDULE_PAUSE_ENDS", message, "trigger", "warning"))
            continue
        elif row.status == "paused":
            message = f"its schedule is paused and stays so; `workflows schedules resume {row.id}` lets it fire again"
            warnings.append(Problem("SCHEDULE_STAYS_PAUSED", message, "trigger", "warning"))
            continue
        problems = [] if row.status in ("completed", "failed") else schedule_payload_problems(row, version)
        if problems:
            reason = f"its payload does not fit version {version.version}: {problems[0].path} {problems[0].message}"
            await change_schedule(conn, row.id, enabled=False, status="failed", error=reason, read=row)
            message = f"schedule {row.id} ({row.name!r:.80}) is failed and fires no more: {reason}"
            warnings.append(Problem("SCHEDULE_PAYLOAD_INVALID", message, "payloadSchemaRef", "warning"))
    return warnings


def schedule_payload_problems(row: ScheduleRow, version: VersionRow) -> list[Problem]:
    """Why a version would refuse every run of a schedule."""
    if version.payload_schema is None:
        return []
    now = datetime.now(UTC)
    return payload_problems(version.payload_schema, payload_of(row, version, now, now), "PAYLOAD_INVALID", "payload")


def payload_of(row: ScheduleRow, version: VersionRow | None, scheduled_for: datetime, now: datetime) -> Any:
    """The schedule's payload; without one the clock's, for a workflow that takes it, else `{}`."""
    if row.payload_json is not None:
        return row.payload_json
    if version is None or version.definition.get("payloadSchemaRef") != CLOCK_TRIGGER:
        return {}
    return {
        "triggerType": row.trigger_type,
        "scheduleId": row.id,
        "scheduledFor": scheduled_for.isoformat(),
        "firedAt": now.isoformat(),
        "timezone": row.timezone,
        "workflowId": row.workflow_id,
        "workflowVersion": row.workflow_version,
        **({} if row.cron is None else {"cron": row.cron}),
    }


def _of_trigger(workflow_id: str, version: int, definition: Definition) -> WantedSchedule | None:
    trigger = definition.trigger
    run_at, cron, timezone = None, None, "UTC"
    if isinstance(trigger, ScheduleTrigger):
        run_at = datetime.fromisoformat(trigger.run_at.strip())
    elif isinstance(trigger, RecurringTrigger):
        cron, timezone = trigger.cron.strip(), trigger.timezone
    else:
        return None
    return WantedSchedule(
        id=str(uuid.uuid5(_TRIGGERS, workflow_id)),
        workflow_id=workflow_id,
        workflow_version=version,
        name=definition.name,
        origin="trigger",
        run_at=run_at,
        cron=cron,
        timezone=timezone,
    )
