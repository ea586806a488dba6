"""Who polls a task queue, as the Temporal server itself reports it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from service_host.errors import Unreachable
from service_host.temporal import service_of

_ASK_SECONDS: Final = 5.0


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
        last_access: Start of its latest poll, UTC. A healthy idle one may be a minute old (a long poll lasts that
            long); the server lists a dead one for 300 seconds more.
    """

    identity: str
    kind: PollerKind
    last_access: datetime

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
    """

    queue: str
    pollers: tuple[Poller, ...]
    backlog: dict[PollerKind, int]

    def of_kind(self, kind: PollerKind) -> tuple[Poller, ...]:
        """Only the pollers of one kind."""
        return tuple(poller for poller in self.pollers if poller.kind is kind)

    def identities(self) -> tuple[str, ...]:
        """Each identity once, sorted."""
        return tuple(sorted({poller.identity for poller in self.pollers}))

    def services(self) -> tuple[str, ...]:
        """Each service once, sorted."""
        return tuple(sorted({poller.service for poller in self.pollers}))

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
    return QueuePollers(
        queue=queue,
        pollers=tuple(sorted(pollers, key=lambda poller: (poller.identity, poller.kind))),
        backlog=dict(zip(PollerKind, (backlog for _, backlog in answers), strict=True)),
    )


async def pollers_of_all(client: Client, queues: Iterable[str]) -> tuple[QueuePollers, ...]:
    """`pollers_of` for several queues, at the same time.

    Raises:
        Unreachable: If the server gives no answer.
    """
    return tuple(await asyncio.gather(*(pollers_of(client, queue) for queue in queues)))


async def _describe(client: Client, queue: str, kind: PollerKind) -> tuple[list[Poller], int]:
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
        raise Unreachable("Temporal", where, f"{error.status.name}: {error.message}") from error
    pollers = [
        Poller(poller.identity, kind, poller.last_access_time.ToDatetime(tzinfo=UTC)) for poller in answer.pollers
    ]
    return pollers, answer.stats.approximate_backlog_count
