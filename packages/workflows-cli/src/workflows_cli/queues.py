"""Each queue's declared owner beside who really polls it, by two sources: heartbeats, and Temporal's list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from temporalio.client import Client

from service_host.ownership import OwnedQueue, QueueOwnership
from service_host.pollers import Poller, PollerKind, QueuePollers, pollers_of_all
from workflows_core.storage.database import Database, is_unavailable
from workflows_core.storage.processes import KNOWN_FOR, live_processes
from workflows_core.storage.rows import ProcessRow

LISTED_FOR_SECONDS = 300
"""So long the server lists a poller that has died."""

_FROM_LIST = f"Temporal's list (one that died stays in it for {LISTED_FOR_SECONDS} s)"


async def ownership_rows(client: Client, db: Database | None = None) -> list[dict[str, Any]]:
    """One row a queue and kind of task.

    Queue, kind, owner, pollers (identities), seconds since the last of them polled, backlog and its age in seconds,
    verdict, and where that is known from. Without a database that answers there are no heartbeats.
    """
    owners = QueueOwnership.load()
    alive = await _alive(db)
    return [
        _row(owners.queues[found.queue], found, kind, alive)
        for found in await pollers_of_all(client, owners.queues)
        for kind in PollerKind
        if kind.value in owners.queues[found.queue].tasks or found.of_kind(kind)
    ]


def verdict_of(
    owner: str | None, identities: Sequence[str], alive: Sequence[ProcessRow] | None, builds: Sequence[str] = ()
) -> str:
    """`ok`, `no poller`, who polls what is not theirs, or that processes of several builds share the queue.

    Args:
        owner: Of the queue.
        identities: Who polls, by Temporal's list.
        alive: Processes of the owner by their heartbeats; None where there are none to read.
        builds: Of those that poll, by Temporal's list.
    """
    foreign = [identity for identity in identities if identity.partition("@")[0] != owner]
    if foreign:
        return f"intruder: {', '.join(sorted(foreign))}"
    if not identities or alive == []:
        return "no poller"
    return f"split build: {', '.join(builds)}" if len(builds) > 1 else "ok"


def _row(
    declared: OwnedQueue, found: QueuePollers, kind: PollerKind, alive: Mapping[str, Sequence[ProcessRow]] | None
) -> dict[str, Any]:
    pollers = found.of_kind(kind)
    # Services that write heartbeats are known by them sooner than by the list.
    beats = None if alive is None else alive.get(declared.owner)
    return {
        "queue": declared.queue,
        "kind": kind.value,
        "owner": declared.owner,
        "pollers": sorted({poller.identity for poller in pollers}),
        "lastSeenSeconds": _last_seen(pollers),
        "backlog": found.backlog[kind],
        "backlogAgeSeconds": round(found.backlog_age[kind], 1),
        "verdict": verdict_of(declared.owner, sorted({poller.identity for poller in pollers}), beats, found.builds()),
        "knownFrom": _FROM_LIST if beats is None else _from_beats(beats),
    }


async def _alive(db: Database | None) -> dict[str, list[ProcessRow]] | None:
    """Live processes by service, of the services that have ever written a heartbeat within a day."""
    if db is None:
        return None
    try:
        async with db.narrow() as conn:
            known = await live_processes(conn, KNOWN_FOR)
            living = await live_processes(conn)
    except Exception as error:
        if not is_unavailable(error):
            raise
        return None
    found: dict[str, list[ProcessRow]] = {process.service: [] for process in known}
    for process in living:
        found[process.service].append(process)
    return found


def _last_seen(pollers: Sequence[Poller]) -> float | None:
    if not pollers:
        return None
    return round(min(poller.age().total_seconds() for poller in pollers), 1)


def _from_beats(beats: Sequence[ProcessRow]) -> str:
    if not beats:
        return "heartbeats: none lives"
    newest = max(process.seen_at for process in beats)
    return f"heartbeats of {len(beats)}, {(datetime.now(UTC) - newest).total_seconds():.0f} s ago"
