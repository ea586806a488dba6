"""What waits and what needs an operator, of all tenants."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from workflows_core.storage.database import Database
from workflows_core.storage.statements import rows_of

_BACKLOG = text("SELECT b.*, workflow_queued_runs() AS runs_queued FROM workflow_backlog() AS b")


@dataclass(frozen=True, slots=True)
class Backlog:
    """Counts stop at 100,000; ages are in seconds, 0 where nothing waits.

    Attributes:
        events_pending: Events that are not routed yet.
        event_overdue_seconds: How long the next of them could have been taken.
        events_dead: Events that could not be routed and wait for an operator.
        deliveries_new: Deliveries that Temporal has not got yet.
        delivery_overdue_seconds: As above, of deliveries.
        deliveries_dead: Deliveries that could not be sent and wait for an operator.
        claims_parked: Claims of ended runs of which nobody knows whether they took the event.
        runs_queued: Runs that wait for another run of their workflow to end before they start.
        runs_starting: Runs whose start is not finished.
        runs_running: Open runs that act.
        runs_waiting: Open runs that wait.
    """

    events_pending: int
    event_overdue_seconds: float
    events_dead: int
    deliveries_new: int
    delivery_overdue_seconds: float
    deliveries_dead: int
    claims_parked: int
    runs_queued: int
    runs_starting: int
    runs_running: int
    runs_waiting: int


async def read_backlog(db: Database) -> Backlog:
    """As of now."""
    [row] = await rows_of(db, _BACKLOG, {})
    return Backlog(**row)
