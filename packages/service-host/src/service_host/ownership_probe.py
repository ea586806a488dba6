"""Live side of queue ownership: reads the actual pollers of every queue, again and again.

Finds out that this process polls what it should (readiness), and of each queue, ours or not, whether somebody polls it
who does not own it, whether its owner does, and whether with one build (log, metric, health).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from temporalio.client import Client

from service_host.errors import Unreachable
from service_host.events import (
    FOREIGN_POLLER,
    FOREIGN_POLLER_GONE,
    QUEUE_FINDING,
    QUEUE_FINDING_GONE,
)
from service_host.logs import log_event
from service_host.ownership import QueueOwnership
from service_host.pollers import LIVES_SECONDS, PollerKind, QueuePollers, pollers_of_all
from service_host.progress import Loop, Progress, RestartBudget, StopStage

PROBE_SECONDS: Final = 10.0
_REFUSED_SECONDS: Final = 2 * PROBE_SECONDS
_FIRST_PROBES_SECONDS: Final = 0.5
_STALE_AFTER_SECONDS: Final = 45.0


@dataclass(frozen=True, slots=True)
class QueueView:
    """What the last probe saw on one queue.

    Attributes:
        own_kinds: Kinds of tasks for which this very process polls.
        foreign: Identities that are not the owner's.
        findings: What else is not as it should be, as sentences: a kind of task that nobody polls for, several builds.
    """

    pollers: QueuePollers
    own_kinds: frozenset[PollerKind]
    foreign: tuple[str, ...]
    findings: tuple[str, ...]


class OwnershipProbe:
    """Probes every queue of the ownership table for one process.

    Args:
        client: Any connection to the namespace.
        service: Name of this service, the owner of the queues.
        identity: Identity of this process.
        queues: Queues that this process polls.
        kinds: Kinds of tasks it polls them for.
        ownership: The table; the installed one if not given.
        stale_after_seconds: An answer of so long ago says nothing any more.
    """

    def __init__(
        self,
        client: Client,
        service: str,
        identity: str,
        queues: Sequence[str],
        kinds: Sequence[PollerKind] = tuple(PollerKind),
        ownership: QueueOwnership | None = None,
        *,
        stale_after_seconds: float = _STALE_AFTER_SECONDS,
    ) -> None:
        self._client = client
        self._service = service
        self._identity = identity
        self._queues = tuple(queues)
        self._kinds = tuple(kinds)
        self._ownership = ownership or QueueOwnership.load()
        self._stale_after_seconds = stale_after_seconds
        self._views: dict[str, QueueView] = {}
        self._polled: dict[tuple[str, PollerKind], tuple[datetime, float]] = {}
        self._seen_at: float | None = None
        self._failure = "not probed yet"

    def loop(self) -> Loop:
        """The probe as a loop of the supervisor."""
        return Loop(
            name="ownership-probe",
            run=self.run,
            stage=StopStage.RECORD,
            restarts=RestartBudget(),
            turns_within=6 * PROBE_SECONDS,
        )

    def views(self) -> tuple[QueueView, ...]:
        """What is known now: the last answer, and nothing once it is too old to be true."""
        return () if self._is_stale() else tuple(self._views.values())

    async def run(self, progress: Progress) -> None:
        """Probe until asked to stop.

        Raises:
            Unreachable: Temporal goes on saying that the namespace is not there or not for us; the process ends once
                that has used up the restarts.
        """
        refused_at: float | None = None
        while True:
            try:
                await self.probe()
            except Unreachable as error:
                self._failure = str(error)
                progress.degraded(str(error))
                refused_at = (refused_at or time.monotonic()) if error.permanent else None
                if refused_at is not None and time.monotonic() - refused_at >= _REFUSED_SECONDS:
                    raise
            else:
                refused_at = None
                progress.mark()
            settled = all(self.polls(queue)[0] for queue in self._queues)
            if await progress.pause(PROBE_SECONDS if settled else _FIRST_PROBES_SECONDS):
                return

    async def probe(self) -> None:
        """Ask once, and report who came or went.

        Raises:
            Unreachable: If Temporal gives no answer; the views stay as they were.
        """
        every = tuple(dict.fromkeys((*self._queues, *self._ownership.queues)))
        for pollers in await pollers_of_all(self._client, every):
            before = self._views.get(pollers.queue)
            view = self._view(pollers)
            self._views[pollers.queue] = view
            self._report(pollers.queue, view.foreign, before.foreign if before else ())
            self._report_findings(pollers.queue, view.findings, None if before is None else before.findings)
        self._seen_at, self._failure = time.monotonic(), ""

    def polls(self, queue: str) -> tuple[bool, str]:
        """Readiness of one queue: whether the server lists this process as a poller of each kind."""
        view = self._views.get(queue)
        if view is None or self._is_stale():
            return False, self._why_unknown()
        missing = [kind.value for kind in self._kinds if kind not in view.own_kinds]
        if missing:
            return False, f"{self._identity} is not listed as a poller of {' and '.join(missing)} tasks"
        return True, f"{self._identity} polls {' and '.join(self._kinds)} tasks"

    def check_of(self, queue: str) -> Callable[[], Awaitable[tuple[bool, str]]]:
        """`polls` as a readiness check."""

        async def check() -> tuple[bool, str]:
            return self.polls(queue)

        return check

    async def intruders(self) -> tuple[bool, str]:
        """Readiness part: never makes the process unready, since it is not the one that is wrong; but it says so."""
        if not self.views():
            return True, f"degraded: who polls is not known: {self._why_unknown()}"
        foreign = [f"intruder {identity} on {view.pollers.queue}" for view in self.views() for identity in view.foreign]
        found = [*foreign, *(finding for view in self.views() for finding in view.findings)]
        return True, f"degraded: {'; '.join(found)}" if found else "every queue is polled by its owner alone"

    def _is_stale(self) -> bool:
        return self._seen_at is None or time.monotonic() - self._seen_at > self._stale_after_seconds

    def _why_unknown(self) -> str:
        return self._failure or "the last look at the pollers is too old"

    def _view(self, pollers: QueuePollers) -> QueueView:
        own_kinds = frozenset(
            poller.kind
            for poller in pollers.pollers
            if poller.identity == self._identity
            and self._polled_ago(pollers.queue, poller.kind, poller.last_access) < LIVES_SECONDS
        )
        owner = self._ownership.owner_of(pollers.queue)
        return QueueView(pollers, own_kinds, pollers.foreign(owner), tuple(self._findings(pollers, owner)))

    def _polled_ago(self, queue: str, kind: PollerKind, last_access: datetime) -> float:
        """Seconds since the server listed another time for this process, whatever the server's clock says."""
        known, since = self._polled.get((queue, kind), (None, 0.0))
        if known != last_access:
            since = time.monotonic()
            self._polled[queue, kind] = last_access, since
        return time.monotonic() - since

    def _findings(self, pollers: QueuePollers, owner: str | None) -> Iterator[str]:
        declared = self._ownership.queues.get(pollers.queue)
        if declared is None:
            return
        missing = [kind for kind in PollerKind if kind.value in declared.tasks and not pollers.of_kind(kind)]
        if missing:
            yield f"nobody polls {pollers.queue} for {' and '.join(missing)} tasks: {owner} does not run"
        builds = pollers.builds()
        if len(builds) > 1 and not pollers.foreign(owner):
            yield f"{pollers.queue} is polled by builds {', '.join(builds)}"

    def _report_findings(self, queue: str, found: Sequence[str], before: Sequence[str] | None) -> None:
        owner = self._ownership.owner_of(queue)
        for finding in sorted(set(found) - set(before or ())):
            if before is None and owner == self._service:
                continue  # This very process is about to poll.
            # At the start others may just not be there yet.
            level = "INFO" if before is None else "WARNING"
            log_event(QUEUE_FINDING, finding, level=level, queue=queue, owner=owner)
        for finding in sorted(set(before or ()) - set(found)):
            log_event(QUEUE_FINDING_GONE, f"no longer: {finding}", queue=queue, owner=owner)

    def _report(self, queue: str, foreign: Sequence[str], before: Sequence[str]) -> None:
        for identity in sorted(set(foreign) - set(before)):
            log_event(
                FOREIGN_POLLER,
                f"{identity} polls {queue!r}, which belongs to {self._ownership.owner_of(queue)}: stop that process",
                level="ERROR",
                queue=queue,
                poller=identity,
                owner=self._ownership.owner_of(queue),
            )
        for identity in sorted(set(before) - set(foreign)):
            log_event(FOREIGN_POLLER_GONE, f"{identity} no longer polls {queue!r}", queue=queue, poller=identity)
