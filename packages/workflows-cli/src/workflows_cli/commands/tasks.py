"""`workflows tasks list | show | claim | assign | answer`: the inbox of human tasks."""

from __future__ import annotations

from collections.abc import Sequence

import click

from workflows_cli.errors import not_found
from workflows_cli.output import table
from workflows_cli.session import Session, command, given_json
from workflows_core.errors import Refused
from workflows_core.storage.human_tasks import (
    answer_task,
    assign_task,
    claim_task,
    get_task,
    list_tasks,
    release_task,
)


@click.group("tasks")
def tasks_group() -> None:
    """What runs ask people."""


@tasks_group.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that are completed, expired or cancelled.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@command
async def list_(session: Session, limit: int, *, everything: bool) -> int:
    """List open tasks, oldest first; with --all the newest first."""
    async with session.db.tenant(session.tenant) as conn:
        found = await list_tasks(conn, open_only=not everything, limit=limit)
        rows = await session.shown(conn, [task.to_json() for task in found])
    columns = ("task_id", "task_type", "title", "status", "claimed_by", "assigned_users", "assigned_roles", "due_date")
    session.emit(rows, table(rows, columns))
    return 0


@tasks_group.command("show")
@click.argument("task_id")
@command
async def show(session: Session, task_id: str) -> int:
    """Show a task with its context and the schema of its answer."""
    async with session.db.tenant(session.tenant) as conn:
        task = await get_task(conn, task_id)
        if task is None:
            raise not_found("TASK_NOT_FOUND", "task", task_id, session.tenant)
        facts = await session.shown(conn, task.to_json())
    session.emit(facts, table([{"field": name, "value": value} for name, value in facts.items()], ("field", "value")))
    return 0


@tasks_group.command("answer")
@click.argument("task_id")
@click.argument("answer")
@command
async def answer_(session: Session, task_id: str, answer: str) -> int:
    """Answer a task with a JSON value, or with @FILE; its run goes on. An answer that does not fit leaves it open."""
    value = given_json(answer, "ANSWER")
    async with session.db.tenant(session.tenant) as conn:
        task = await answer_task(conn, session.tenant, task_id, value, session.actor)
        facts = await session.shown(conn, task.to_json())
    session.emit(facts, f"answered task {task.task_id} of run {task.execution_id}")
    return 0


@tasks_group.command("claim")
@click.argument("task_id")
@click.option("--as", "person", help="Who works on it; by default you.")
@click.option("--take-over", is_flag=True, help="Also when somebody else has claimed it.")
@click.option("--release", is_flag=True, help="Say that you do not work on it any more; nobody does, with --take-over.")
@command
async def claim(session: Session, task_id: str, person: str | None, *, take_over: bool, release: bool) -> int:
    """Say who works on a task; only that one answers it."""
    _check_names("--as", [] if person is None else [person])
    async with session.db.tenant(session.tenant) as conn:
        change = release_task if release else claim_task
        task = await change(conn, task_id, person or session.actor, take_over=take_over)
        facts = await session.shown(conn, task.to_json())
    text = (
        f"nobody works on task {task_id}" if task.claimed_by is None else f"{task.claimed_by} works on task {task_id}"
    )
    session.emit(facts, text)
    return 0


@tasks_group.command("assign")
@click.argument("task_id")
@click.option("--user", "users", multiple=True, help="Who is asked, by name.")
@click.option("--role", "roles", multiple=True, help="Who is asked, by role.")
@click.option("--anybody", is_flag=True, help="Ask nobody in particular.")
@command
async def assign(
    session: Session, task_id: str, users: tuple[str, ...], roles: tuple[str, ...], *, anybody: bool
) -> int:
    """Ask other people in place of those who were; whoever had claimed the task has not any more."""
    if bool(users or roles) is anybody:
        message = "say who is asked, with --user or --role, or --anybody and neither of them"
        raise Refused.one("OPTION_NOT_FITTING", message, "--user")
    _check_names("--user", users)
    _check_names("--role", roles)
    async with session.db.tenant(session.tenant) as conn:
        task = await assign_task(conn, task_id, users, roles)
        facts = await session.shown(conn, task.to_json())
    session.emit(facts, f"task {task_id} is for {', '.join((*users, *roles)) or 'anybody'}")
    return 0


def _check_names(option: str, names: Sequence[str]) -> None:
    """Refuses a name that names nobody, such as of a variable that is not set."""
    if not all(name.strip() for name in names):
        raise Refused.one("OPTION_NOT_FITTING", "is blank, which names nobody", option)
