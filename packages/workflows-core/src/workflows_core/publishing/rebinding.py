"""The schedules of a workflow follow its newest version, in the transaction that publishes it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.definitions.model import Definition, RecurringTrigger, ScheduleTrigger
from workflows_core.errors import Problem
from workflows_core.publishing.contracts import payload_problems
from workflows_core.storage.schedules import (
    WantedSchedule,
    bind_schedule,
    change_schedule,
    list_schedules,
    store_schedule,
)

_TRIGGERS = uuid.UUID("7a1fd1f0-4f4c-5f0b-8d6e-1e5f6b0c9a27")


async def rebind_schedules(
    conn: AsyncConnection,
    workflow_id: str,
    version: int,
    definition: Definition,
    payload_schema: Mapping[str, Any] | None,
) -> list[Problem]:
    """Stores the trigger's schedule, or deletes the one of an earlier version; binds the others to this version.

    A schedule whose payload does not keep to the version's schema fires no more, and says why.

    Returns:
        A warning for a trigger whose schedule an operator has paused: it stays so, and ends with the trigger.
    """
    warnings = []
    wanted = _of_trigger(workflow_id, version, definition)
    if wanted is not None:
        await store_schedule(conn, wanted)
    for row in await list_schedules(conn, workflow_id):
        if row.origin == "trigger":
            if wanted is None:
                await change_schedule(conn, row.id, enabled=False, status="deleted")
                if row.status == "paused":
                    message = (
                        "its trigger's schedule, which is paused, ends with the trigger: a later version with one"
                        " has a schedule that fires"
                    )
                    warnings.append(Problem("SCHEDULE_PAUSE_ENDS", message, "trigger", "warning"))
            elif row.status == "paused":
                message = (
                    f"its schedule is paused and stays so; `workflows schedules resume {row.id}` lets it fire again"
                )
                warnings.append(Problem("SCHEDULE_STAYS_PAUSED", message, "trigger", "warning"))
            continue
        await bind_schedule(conn, row.id, version)
        if payload_schema is None or row.payload_json is None or row.status in ("completed", "failed"):
            continue
        problems = payload_problems(payload_schema, row.payload_json, "PAYLOAD_INVALID", "payload")
        if problems:
            reason = f"its payload does not fit version {version}: {problems[0].path} {problems[0].message}"
            await change_schedule(conn, row.id, enabled=False, status="failed", error=reason)
    return warnings


def _of_trigger(workflow_id: str, version: int, definition: Definition) -> WantedSchedule | None:
    trigger = definition.trigger
    if not isinstance(trigger, (ScheduleTrigger, RecurringTrigger)):
        return None
    once = isinstance(trigger, ScheduleTrigger)
    return WantedSchedule(
        id=str(uuid.uuid5(_TRIGGERS, workflow_id)),
        workflow_id=workflow_id,
        workflow_version=version,
        name=definition.name,
        origin="trigger",
        run_at=datetime.fromisoformat(trigger.run_at.strip()) if isinstance(trigger, ScheduleTrigger) else None,
        cron=None if isinstance(trigger, ScheduleTrigger) else trigger.cron.strip(),
        timezone="UTC" if once or isinstance(trigger, ScheduleTrigger) else trigger.timezone,
    )
