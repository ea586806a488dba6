"""The inbox of human tasks: reading, and the answer that resumes the run.

Every function needs a connection whose transaction has its tenant set. Rows are opened and closed with their waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.actions.answers import answer_check
from workflows_core.errors import Json, Problem, Refused
from workflows_core.storage.events import publish_event
from workflows_core.storage.tables import as_json, tasks, this_tenant
from workflows_core.wire.names import HUMAN_TASK_COMPLETED

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
    response_data: Json
    completed_by: str | None
    completed_at: datetime | None
    created_at: datetime

    def to_json(self) -> dict[str, Any]:
        """JSON-ready but for the times, which stay `datetime`."""
        return asdict(self)


_TASK = [tasks.c[name] for name in TaskRow.__dataclass_fields__]


async def get_task(conn: AsyncConnection, task_id: str) -> TaskRow | None:
    """One task."""
    found = await conn.execute(select(*_TASK).where(tasks.c.tenant == this_tenant(), tasks.c.task_id == task_id))
    row = found.one_or_none()
    return None if row is None else TaskRow(**row._asdict())


async def list_tasks(conn: AsyncConnection, *, open_only: bool = True, limit: int = 50) -> list[TaskRow]:
    """Tasks, the oldest first."""
    query = select(*_TASK).where(tasks.c.tenant == this_tenant())
    if open_only:
        query = query.where(tasks.c.status.in_(OPEN_STATUSES))
    found = await conn.execute(query.order_by(tasks.c.created_at, tasks.c.task_id).limit(limit))
    return [TaskRow(**row._asdict()) for row in found]


async def answer_task(conn: AsyncConnection, tenant: str, task_id: str, answer: Json, answered_by: str) -> TaskRow:
    """Closes the task and publishes its answer, in the caller's transaction.

    Raises:
        Refused: `TASK_NOT_FOUND`, `TASK_CLOSED`, `TASK_ANSWER_INVALID` with everything that does not fit; the task
            stays as it was.
    """
    query = select(*_TASK).where(tasks.c.tenant == this_tenant(), tasks.c.task_id == task_id).with_for_update()
    row = (await conn.execute(query)).one_or_none()
    if row is None:
        raise Refused.one("TASK_NOT_FOUND", f"this tenant has no task {task_id!r}", "taskId")
    task = TaskRow(**row._asdict())
    if task.status not in OPEN_STATUSES:
        raise Refused.one("TASK_CLOSED", f"task {task_id!r} is {task.status}: nobody waits for an answer", "taskId")
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
    )
    closing = update(tasks).where(tasks.c.tenant == this_tenant(), tasks.c.task_id == task_id)
    await conn.execute(
        closing.values(
            status="completed",
            response_data=as_json(answer),
            completed_by=answered_by,
            completed_at=func.clock_timestamp(),
        )
    )
    closed = await get_task(conn, task_id)
    return closed or task
