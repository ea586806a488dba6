"""Each queue's declared owner beside its live pollers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio.client import Client

from service_host.ownership import QueueOwnership
from service_host.pollers import pollers_of_all


async def ownership_rows(client: Client) -> list[dict[str, Any]]:
    """One row a queue: queue, owner, pollers (identities), verdict."""
    owners = QueueOwnership.load()
    rows = []
    for found in await pollers_of_all(client, owners.queues):
        identities = list(found.identities())
        owner = owners.owner_of(found.queue)
        rows.append(
            {
                "queue": found.queue,
                "owner": owner,
                "pollers": identities,
                "backlog": sum(found.backlog.values()),
                "verdict": verdict_of(found.foreign(owner), identities),
            }
        )
    return rows


def verdict_of(foreign: Sequence[str], identities: Sequence[str]) -> str:
    """`ok`, `no poller`, or who polls a queue that is not theirs."""
    if foreign:
        return f"intruder: {', '.join(foreign)}"
    return "ok" if identities else "no poller"
