"""Reminds people of open tasks: an event `HUMAN_TASK_REMINDER` when a task is due, and again once a day."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from workflows_core.errors import Refused
from workflows_core.launching.passes import repeat
from workflows_core.progress import LoopProgress
from workflows_core.storage.database import Database
from workflows_core.storage.human_tasks import plan_reminder, remind, tasks_to_remind

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TaskReminders:
    """One process's loop; several do no harm, since a reminder has one event id.

    Attributes:
        db: The database, as the application role.
        every_seconds: Between two passes.
        batch_size: Tasks of one pass.
    """

    db: Database
    every_seconds: float = 15.0
    batch_size: int = 200

    async def run(self, progress: LoopProgress) -> None:
        """Passes until cancelled."""
        await repeat(self.one_pass, progress, self.every_seconds, told=lambda done: f"{done} reminders" if done else "")

    async def one_pass(self) -> int:
        """How many reminders were published.

        Raises:
            Exception: The database is away.
        """
        async with self.db.narrow() as conn:
            due = await tasks_to_remind(conn, self.batch_size)
        done = 0
        for tenant, task_id in due:
            try:
                async with self.db.tenant(tenant) as conn:
                    done += await remind(conn, tenant, task_id)
            except Refused as error:
                # One task's fault: the others are reminded of all the same.
                async with self.db.tenant(tenant) as conn:
                    await plan_reminder(conn, task_id)
                extra = {"event": "reminder_refused", "tenant": tenant}
                _log.warning("no reminder of task %s: %s", task_id, error.message, extra=extra)
        return done
