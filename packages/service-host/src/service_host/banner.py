"""The one event that a process logs when it starts: what it is, what it owns, what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version as installed_version

from service_host.command import Contents
from service_host.events import PROCESS_STARTED, QUEUE_NOT_OWNED_HERE
from service_host.logs import log_event
from service_host.ownership import QueueOwnership
from service_host.settings import TemporalSettings


def log_banner(
    service: str,
    identity: str,
    settings: TemporalSettings,
    queues: Sequence[str],
    ownership: QueueOwnership,
    contents: Contents,
) -> None:
    """Log `process_started`, and one `queue_not_owned_here` per queue that others own.

    Args:
        service: Name of the service.
        identity: Identity of the process.
        settings: Address, namespace, build id.
        queues: The owned queues that this process polls.
        ownership: The table.
        contents: Registered workflows, activities and actions.
    """
    version = installed_version(service)
    build = settings.temporal_worker_build_id or version
    log_event(
        PROCESS_STARTED,
        f"{service} {version} (build {build}) polls {', '.join(queues)} in namespace {settings.temporal_namespace}",
        version=version,
        build_id=build,
        queues_owned=list(queues),
        queues_refused=list(ownership.refused_by(service)),
        temporal_address=settings.temporal_address,
        namespace=settings.temporal_namespace,
        process_identity=identity,
        workflows=sorted(contents.workflows),
        activities=sorted(contents.activities),
        actions=sorted(contents.actions),
    )
    for queue in ownership.refused_by(service):
        owner = ownership.owner_of(queue)
        log_event(
            QUEUE_NOT_OWNED_HERE,
            f"queue {queue!r} is not polled by {service}: its owner is {owner}",
            queue=queue,
            owner=owner,
        )
