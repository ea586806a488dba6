"""Who polls a task queue, as the Temporal server itself reports it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue, TaskQueueStats
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from service_host.errors import Unreachable
from service_host.temporal import PERMANENT, service_of

_ASK_SECONDS: Final = 5.0
LIVES_SECONDS: Final = 90.0
"""A poller that was seen within so many seconds lives: a long poll lasts up to 70 s."""


class PollerKind(StrEnum):
    """What a poller asks the queue for."""

    WORKFLOW = "workflow"
    ACTIVITY = "activity"


_WIRE_KIND = {
    PollerKind.WORKFLOW: TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    PollerKind.ACTIVITY: TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}


@dataclass(frozen=True, slots=True)
class Poller:
    """One poller of a queue.

    Attributes:
        identity: As the polling client named itself.
        kind: Workflow tasks or activity tasks.
        build: Of the polling worker, as it named itself.
        last_access: Start of its latest poll, UTC. A healthy idle one may be a minute old (a long poll lasts that
            long); the server lists a dead one for 300 seconds more.
    """

    identity: str
    kind: PollerKind
    last_access: datetime
    build: str = ""

    @property
    def service(self) -> str:
        """The service part of the identity."""
        return service_of(self.identity)

    def age(self) -> timedelta:
        """Time since the last access."""
        return datetime.now(UTC) - self.last_access


@dataclass(frozen=True, slots=True)
class QueuePollers:
    """The pollers of one queue, both kinds, in order of identity.

    Attributes:
        backlog: Tasks that wait for a poller, per kind, as far as the server knows (approximate).
        backlog_age: Seconds for which the oldest of them has waited, per kind.
    """

    queue: str
    pollers: tuple[Poller, ...]
    backlog: dict[PollerKind, int]
    backlog_age: dict[PollerKind, float]

    def of_kind(self, kind: PollerKind) -> tuple[Poller, ...]:
        """Only the pollers of one kind."""
        return tuple(poller for poller in self.pollers if poller.kind is kind)

    def identities(self) -> tuple[str, ...]:
        """Each identity once, sorted."""
        return tuple(sorted({poller.identity for poller in self.pollers}))

    def services(self) -> tuple[str, ...]:
        """Each service once, sorted."""
        return tuple(sorted({poller.service for poller in self.pollers}))

    def builds(self) -> tuple[str, ...]:
        """Each build of those that still poll, sorted."""
        alive = (poller for poller in self.pollers if poller.age().total_seconds() < LIVES_SECONDS)
        return tuple(sorted({poller.build for poller in alive if poller.build}))

    def foreign(self, owner: str | None) -> tuple[str, ...]:
        """Identities that are not the owner's."""
        return tuple(sorted({poller.identity for poller in self.pollers if poller.service != owner}))


async def pollers_of(client: Client, queue: str) -> QueuePollers:
    """Ask the server for the pollers of a queue (DescribeTaskQueue, once per kind).

    Raises:
        Unreachable: If the server gives no answer.
    """
    answers = await asyncio.gather(*(_describe(client, queue, kind) for kind in PollerKind))
    pollers = [poller for found, _ in answers for poller in found]
    stats = dict(zip(PollerKind, (stats for _, stats in answers), strict=True))
    return QueuePollers(
        queue=queue,
        pollers=tuple(sorted(pollers, key=lambda poller: (poller.identity, poller.kind))),
        backlog={kind: found.approximate_backlog_count for kind, found in stats.items()},
        backlog_age={
            kind: found.approximate_backlog_age.ToTimedelta().total_seconds() for kind, found in stats.items()
        },
    )


@dataclass(frozen=True, slots=True)
class ListedPollers:
    """Whether anybody polls a queue, by Temporal's list."""

    client: Client

    async def is_polled(self, queue: str) -> bool | None:
        """True or False as Temporal says; None when it does not answer."""
        try:
            return bool((await pollers_of(self.client, queue)).pollers)
        except Unreachable:
            return None


async def pollers_of_all(client: Client, queues: Iterable[str]) -> tuple[QueuePollers, ...]:
    """`pollers_of` for several queues, at the same time.

    Raises:
        Unreachable: If the server gives no answer.
    """
    return tuple(await asyncio.gather(*(pollers_of(client, queue) for queue in queues)))


async def _describe(client: Client, queue: str, kind: PollerKind) -> tuple[list[Poller], TaskQueueStats]:
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=queue),
        task_queue_type=_WIRE_KIND[kind],
        report_stats=True,
    )
    try:
        answer = await client.workflow_service.describe_task_queue(request, timeout=timedelta(seconds=_ASK_SECONDS))
    except RPCError as error:
        where = f"{client.service_client.config.target_host} (namespace {client.namespace})"
        reason = f"{error.status.name}: {error.message}"
        raise Unreachable("Temporal", where, reason, permanent=error.status in PERMANENT) from error
    pollers = [
        Poller(poller.identity, kind, poller.last_access_time.ToDatetime(tzinfo=UTC), _build(poller))
        for poller in answer.pollers
    ]
    return pollers, answer.stats


def _build(poller: PollerInfo) -> str:
    return poller.deployment_options.build_id or poller.worker_version_capabilities.build_id
