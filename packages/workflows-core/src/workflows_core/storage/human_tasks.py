"""The inbox of human tasks: reading, and the answer that resumes the run.

Every function needs a connection whose transaction has its tenant set. Rows are opened and closed with their waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, func, null, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.actions.answers import answer_check
from workflows_core.errors import Json, Problem, Refused
from workflows_core.storage.events import publish_event
from workflows_core.storage.tables import as_json, tasks, this_tenant
from workflows_core.wire.names import HUMAN_TASK_COMPLETED, HUMAN_TASK_REMINDER

MAX_REMINDERS = 30
MAX_TOLD_TITLE = 1000
"""Characters of a task's title in its reminders."""

REMIND_EVERY_SECONDS = 86_400
"""After the first reminder, which comes when the task is due."""

OPEN_STATUSES = frozenset({"pending", "claimed"})


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task; the names are the columns'.

    Attributes:
        task_id: Its id, which is the correlation key of its answer.
        execution_id: The run that waits for it.
        step_path: The step that waits.
        task_type: What kind of task it is.
        title: One line for people.
        description: More for people.
        context_data: JSON object with what they need to know.
        assigned_users: Who is asked, by name.
        assigned_roles: Who is asked, by role.
        due_date: When it should be done.
        expires_at: When the step fails; None never.
        response_schema: JSON Schema of the answer; None takes any.
        status: `pending`, `claimed`, `completed`, `canceled` or `expired`.
        claimed_by: Who works on it.
        claimed_at: Since when.
        reminders: How many reminders were published.
        remind_at: When the next one is; None: none.
        response_data: The answer.
        completed_by: Who gave it.
        completed_at: When it was closed.
        created_at: When it was opened.
    """

    task_id: str
    execution_id: str
    step_path: str
    task_type: str
    title: str
    description: str | None
    context_data: Json
    assigned_users: list[str]
    assigned_roles: list[str]
    due_date: datetime | None
    expires_at: datetime | None
    response_schema: Mapping[str, Any] | None
    status: str
    claimed_by: str | None
    claimed_at: datetime | None
    reminders: int
    remind_at: datetime | None
    response_data: Json
    completed_by: str | None
    completed_at: datetime | None
    created_at: datetime

    def to_json(self) -> dict[str, Any]:
        """JSON-ready but for the times, which stay `datetime`."""
        return asdict(self)


_TASK = [tasks.c[name] for name in TaskRow.__dataclass_fields__]
_HAS_EXPIRED = tasks.c.expires_at <= func.clock_timestamp()


async def get_task(conn: AsyncConnection, task_id: str) -> TaskRow | None:
    """One task."""
    found = await conn.execute(select(*_TASK).where(tasks.c.tenant == this_tenant(), tasks.c.task_id == task_id))
    row = found.one_or_none()
    return None if row is None else TaskRow(**row._asdict())


async def list_tasks(conn: AsyncConnection, *, open_only: bool = True, limit: int = 50) -> list[TaskRow]:
    """Open tasks, the oldest first; else all, the newest first, since the oldest are closed and stay for ever."""
    query = select(*_TASK).where(tasks.c.tenant == this_tenant()).limit(limit)
    if open_only:
        query = query.where(tasks.c.status.in_(OPEN_STATUSES)).order_by(tasks.c.created_at, tasks.c.task_id)
    else:
        query = query.order_by(tasks.c.created_at.desc(), tasks.c.task_id.desc())
    found = await conn.execute(query)
    return [TaskRow(**row._asdict()) for row in found]


async def answer_task(conn: AsyncConnection, tenant: str, task_id: str, answer: Json, answered_by: str) -> TaskRow:
    """Closes the task and publishes its answer, in the caller's transaction.

    Raises:
        Refused: `TASK_NOT_FOUND`, `TASK_CLOSED`, `TASK_CLAIMED` by somebody else, `TASK_ANSWER_INVALID` with everything
            that does not fit; the task stays as it was.
    """
    task = await _held(conn, task_id)
    _check_claim(task, answered_by)
    if task.response_schema is not None:
        problems = answer_check(task.response_schema)(answer)
        if problems:
            raise Refused([Problem("TASK_ANSWER_INVALID", problem, "answer") for problem in problems])
    await publish_event(
        conn,
        tenant=tenant,
        event_id=f"task-answered:{task_id}",
        event_name=HUMAN_TASK_COMPLETED,
        correlation_key=task_id,
        payload=answer,
        none_is_null=True,
    )
    await _change(
        conn,
        task_id,
        status="completed",
        response_data=as_json(answer),
        completed_by=answered_by,
        completed_at=func.clock_timestamp(),
    )
    return await get_task(conn, task_id) or task


async def claim_task(conn: AsyncConnection, task_id: str, by: str, *, take_over: bool = False) -> TaskRow:
    """Says who works on a task: only that one answers it. Claiming it again changes nothing.

    Raises:
        Refused: `TASK_NOT_FOUND`, `TASK_CLOSED`, `TASK_CLAIMED` by somebody else, unless it is taken over.
    """
    task = await _held(conn, task_id)
    if not take_over:
        _check_claim(task, by)
    if task.claimed_by != by:
        await _change(conn, task_id, status="claimed", claimed_by=by, claimed_at=func.clock_timestamp())
    return await get_task(conn, task_id) or task


async def release_task(conn: AsyncConnection, task_id: str, by: str, *, take_over: bool = False) -> TaskRow:
    """Nobody works on it any more.

    Raises:
        Refused: `TASK_NOT_FOUND`, `TASK_CLOSED`, `TASK_CLAIMED` by somebody else, unless it is taken from them.
    """
    task = await _held(conn, task_id)
    if not take_over:
        _check_claim(task, by)
    await _change(conn, task_id, status="pending", claimed_by=None, claimed_at=None)
    return await get_task(conn, task_id) or task


async def assign_task(conn: AsyncConnection, task_id: str, users: Sequence[str], roles: Sequence[str]) -> TaskRow:
    """Asks other people; whoever had claimed it has not any more.

    Raises:
        Refused: `TASK_NOT_FOUND`, `TASK_CLOSED`.
    """
    task = await _held(conn, task_id)
    await _change(
        conn,
        task_id,
        status="pending",
        claimed_by=None,
        claimed_at=None,
        assigned_users=as_json(list(users)),
        assigned_roles=as_json(list(roles)),
    )
    return await get_task(conn, task_id) or task


async def tasks_to_remind(conn: AsyncConnection, limit: int) -> list[tuple[str, str]]:
    """(tenant, task id) of open tasks whose reminder is due (narrow connection)."""
    rows = await conn.execute(text("SELECT tenant, task_id FROM workflow_tasks_to_remind(:limit)"), {"limit": limit})
    return [(row.tenant, row.task_id) for row in rows]


async def remind(conn: AsyncConnection, tenant: str, task_id: str) -> bool:
    """Publishes the reminder that is due, and plans the next one; False when none is due any more.

    Nobody is reminded of a task whose time is over, though its run may not have written that yet.
    """
    query = (
        select(*_TASK, _HAS_EXPIRED)
        .where(
            tasks.c.tenant == this_tenant(),
            tasks.c.task_id == task_id,
            tasks.c.status.in_(OPEN_STATUSES),
            tasks.c.remind_at <= func.clock_timestamp(),
        )
        .with_for_update(skip_locked=True)
    )
    row = (await conn.execute(query)).one_or_none()
    if row is None:
        return False
    *values, has_expired = row
    if has_expired:
        await _change(conn, task_id, remind_at=null())
        return False
    task = TaskRow(*values)
    number = task.reminders + 1
    payload: dict[str, Json] = {
        "taskId": task.task_id,
        "runId": task.execution_id,
        "taskType": task.task_type,
        "title": task.title[:MAX_TOLD_TITLE],
        "dueDate": None if task.due_date is None else task.due_date.isoformat(),
        "claimedBy": task.claimed_by,
        "assignedUsers": list(task.assigned_users),
        "assignedRoles": list(task.assigned_roles),
        "reminder": number,
    }
    await publish_event(
        conn,
        tenant=tenant,
        event_id=f"task-reminder:{task_id}:{number}",
        event_name=HUMAN_TASK_REMINDER,
        correlation_key=task_id,
        payload=payload,
    )
    await plan_reminder(conn, task_id)
    return True


async def plan_reminder(conn: AsyncConnection, task_id: str) -> None:
    """The reminder that is due is done with, published or skipped: the next one, with another id, comes a day later."""
    later = func.clock_timestamp() + timedelta(seconds=REMIND_EVERY_SECONDS)
    again = case((tasks.c.reminders + 1 < MAX_REMINDERS, later), else_=null())
    await _change(conn, task_id, reminders=tasks.c.reminders + 1, remind_at=again)


async def _held(conn: AsyncConnection, task_id: str) -> TaskRow:
    """The open task, locked; one whose time is over is none, though its run may not have written that yet."""
    query = (
        select(*_TASK, _HAS_EXPIRED)
        .where(tasks.c.tenant == this_tenant(), tasks.c.task_id == task_id)
        .with_for_update()
    )
    row = (await conn.execute(query)).one_or_none()
    if row is None:
        raise Refused.one("TASK_NOT_FOUND", f"this tenant has no task {task_id!r}", "taskId")
    *values, has_expired = row
    task = TaskRow(*values)
    if task.status not in OPEN_STATUSES or has_expired:
        what = task.status if task.status not in OPEN_STATUSES else f"expired, at {task.expires_at}"
        raise Refused.one("TASK_CLOSED", f"task {task_id!r} is {what}: nobody waits for an answer", "taskId")
    return task


def _check_claim(task: TaskRow, by: str) -> None:
    if task.claimed_by is not None and task.claimed_by != by:
        message = f"{task.claimed_by} works on it; take it over first (`workflows tasks claim --take-over`)"
        raise Refused.one("TASK_CLAIMED", message, "taskId")


async def _change(conn: AsyncConnection, task_id: str, **values: Any) -> None:
    changing = update(tasks).where(tasks.c.tenant == this_tenant(), tasks.c.task_id == task_id)
    await conn.execute(changing.values(**values))
