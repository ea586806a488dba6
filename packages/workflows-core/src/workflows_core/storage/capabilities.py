"""Which process serves which action: read from the heartbeat rows that the processes write.

A row outlives its process for a day, so that "nobody serves it" can say who last did.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.storage.processes import LIVE_FOR
from workflows_core.wire.records import ActionTraits

_ANNOUNCED = text("""
    SELECT p.identity, p.service, p.seen_at,
           p.seen_at > clock_timestamp() - CAST(:live_for AS interval)
               AND p.seen_at < clock_timestamp() + CAST(:live_for AS interval) AS live, a.value
      FROM workflow_processes p, jsonb_array_elements(p.actions) a
     WHERE CAST(:ids AS text[]) IS NULL OR a.value ->> 'id' = ANY (CAST(:ids AS text[]))
     ORDER BY live DESC, p.seen_at DESC, p.identity
""")


@dataclass(frozen=True, slots=True)
class AnnouncedAction:
    """One action as one process announced it.

    Attributes:
        id: Of the action.
        version: Of the action.
        place: Where it runs.
        traits: What a run must know to schedule it.
        input_schema: JSON Schema of its input.
        takes_secrets: Whether a secret may be in its input; True where a process of an earlier build does not say.
        identity: The process, `<service>@<host>:<pid>`.
        service: Its service.
        seen_at: Its last heartbeat, by the database's clock.
        live: False when the process has been silent for longer than was asked for.
    """

    id: str
    version: int
    place: Literal["worker", "app"]
    traits: ActionTraits
    input_schema: Mapping[str, Any]
    takes_secrets: bool
    identity: str
    service: str
    seen_at: datetime
    live: bool


async def announced_actions(
    conn: AsyncConnection, wanted: Collection[tuple[str, int]] | None = None, live_for: timedelta = LIVE_FOR
) -> list[AnnouncedAction]:
    """What processes announced within the last day, those that live first, then by their last heartbeat.

    Args:
        conn: Any connection; there is no tenant data in it.
        wanted: Only these (id, version); everything when None.
        live_for: A process that has been silent for longer is not live.
    """
    ids = None if wanted is None else sorted({action_id for action_id, _ in wanted})
    rows = await conn.execute(_ANNOUNCED, {"ids": ids, "live_for": live_for})
    found = []
    for identity, service, seen_at, live, value in rows:
        action = cast("dict[str, Any]", value)
        if wanted is not None and (action["id"], action["version"]) not in wanted:
            continue
        traits: ActionTraits = action["traits"]
        found.append(
            AnnouncedAction(
                id=action["id"],
                version=action["version"],
                place=traits["place"],
                traits=traits,
                input_schema=action["inputSchema"],
                takes_secrets=action.get("takesSecrets", True),
                identity=identity,
                service=service,
                seen_at=seen_at,
                live=live,
            )
        )
    return found
