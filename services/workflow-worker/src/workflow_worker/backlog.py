"""What waits, as metrics and as a part of readiness: read from the database every few seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service_host.progress import Loop, Progress, RestartBudget, StopStage
from workflows_core.storage.backlog import Backlog, read_backlog
from workflows_core.storage.database import Database, may_pass, unavailable_reason

READ_SECONDS: Final = 5.0
TOO_OLD_SECONDS: Final = 60.0
"""Ingress that leaves an event or a delivery lying for so long does not keep up."""


class BacklogWatch(Collector):
    """Reads the backlog again and again; what it has read is at most a few seconds old, or none."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._found: Backlog | None = None

    def loop(self) -> Loop:
        """As a loop of the supervisor."""
        return Loop(
            "backlog",
            self.run,
            StopStage.CLAIM,
            RestartBudget(restarts=None),
            stop_within=0,
            turns_within=10 * READ_SECONDS,
        )

    async def run(self, progress: Progress) -> None:
        """Reads until told to stop."""
        while True:
            try:
                self._found = await read_backlog(self._db)
            except Exception as error:
                self._found = None
                if not may_pass(error):
                    raise
                progress.degraded(unavailable_reason(error))
            else:
                progress.mark()
            if await progress.pause(READ_SECONDS):
                return

    async def keeps_up(self) -> tuple[bool, str]:
        """Readiness: whether events and deliveries are taken in time."""
        found = self._found
        if found is None:
            return False, "the backlog could not be read"
        overdue = max(found.event_overdue_seconds, found.delivery_overdue_seconds)
        waiting = f"{found.events_pending} events and {found.deliveries_new} deliveries wait"
        detail = f"{waiting}, the next is overdue by {overdue:.0f} s"
        needs = found.events_dead + found.deliveries_dead + found.claims_parked
        return overdue < TOO_OLD_SECONDS, detail + (f"; {needs} need an operator" if needs else "")

    def collect(self) -> Iterable[Metric]:
        """Gauges; none while the database does not answer."""
        for name, value in {} if self._found is None else asdict(self._found).items():
            yield GaugeMetricFamily(f"workflow_{name}", _HELP[name], value)


_HELP: Final = {
    "events_pending": "Events that are not routed yet.",
    "event_overdue_seconds": "How long the next event could have been routed.",
    "events_dead": "Events that could not be routed and wait for an operator.",
    "deliveries_new": "Deliveries that Temporal has not got yet.",
    "delivery_overdue_seconds": "How long the next delivery could have been sent.",
    "deliveries_dead": "Deliveries that could not be sent and wait for an operator.",
    "claims_parked": "Claims of ended runs of which nobody knows whether they took the event.",
    "runs_queued": "Runs that wait for another run of their workflow to end before they start.",
    "runs_starting": "Runs whose start is not finished.",
    "runs_running": "Open runs that act.",
    "runs_waiting": "Open runs that wait.",
}
