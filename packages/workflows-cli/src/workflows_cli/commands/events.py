"""`workflows events publish | list | count | show | requeue | replay` and `workflows waits show`."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_cli.errors import not_found
from workflows_cli.output import table
from workflows_cli.session import UTC_TIME, Session, command, given_json, window_problems
from workflows_core.errors import Refused
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.ingress.explaining import Candidate, explain_event, explain_wait, would_reach
from workflows_core.launching.events import events_to_replay, publish_checked, replay_event, requeue_event
from workflows_core.storage.events import UNMATCHED, EventRow, count_events, list_events

STATUSES = ("pending", "routed", UNMATCHED, "dead", "new", "accepted", "consumed", "late", "unknown", "undeliverable")
_A_DAY = timedelta(days=1)


@click.group("events")
def events_group() -> None:
    """The event stream."""


@events_group.command("publish")
@click.argument("name")
@click.option("--key", help="Correlation key; without one, keys are derived from the payload.")
@click.option("--payload", default="{}", show_default=True, help="JSON payload of the event, or @FILE.")
@click.option("--event-id", help="Id of the event; the same id is published once. By default a new one.")
@click.option("--schema", help="Ref of the payload's schema; by default that of the event catalogue.")
@click.option("--at", type=UTC_TIME, help="The publisher's own time (UTC) of what happened; nothing is decided by it.")
@command
async def publish(
    session: Session,
    name: str,
    key: str | None,
    payload: str,
    event_id: str | None,
    schema: str | None,
    *,
    at: datetime | None,
) -> int:
    """Publish event NAME."""
    body = given_json(payload, "--payload")
    chosen = event_id or str(uuid.uuid4())
    async with session.db.tenant(session.tenant) as conn:
        fresh = await publish_checked(
            conn,
            tenant=session.tenant,
            event_id=chosen,
            event_name=name,
            payload=body,
            correlation_key=key,
            payload_schema_ref=schema,
            occurred_at=at,
        )
    text = f"published {name} as {chosen}" if fresh else f"event {chosen} was published before; nothing changed"
    session.emit({"eventId": chosen, "published": fresh}, text)
    return 0


@events_group.command("list")
@click.option("--name", help="Only events of this name.")
@click.option("--status", type=click.Choice(STATUSES), help="Only those with this status, or a delivery with it.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@command
async def list_(session: Session, name: str | None, status: str | None, limit: int) -> int:
    """List events with what became of them, newest first."""
    async with session.db.tenant(session.tenant) as conn:
        found = await list_events(conn, name=name, status=status, limit=limit)
        rows = await session.shown(conn, [row.to_json() for row in found])
    shown = [
        {**row, "deliveries": [*map(_outcome, row["deliveries"]), *_others(row)], "reason": _reasons(row)}
        for row in rows
    ]
    session.emit(rows, table(shown, ("eventId", "eventName", "keys", "status", "deliveries", "createdAt", "reason")))
    return 0


@events_group.command("count")
@click.option("--name", help="Only events of this name.")
@click.option("--from", "since", type=UTC_TIME, help="Published at this time (UTC) or later; by default a day ago.")
@click.option("--until", type=UTC_TIME, help="Published before this time (UTC).")
@click.option("--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="At most so many lines.")
@command
async def count(session: Session, name: str | None, since: datetime | None, until: datetime | None, limit: int) -> int:
    """Count events by name and what became of them: as many as `list --status` has for that.

    An event with several deliveries counts for each status that these have. `unmatched` were routed to nobody.
    """
    begins = since or datetime.now(UTC) - _A_DAY
    _check_window(begins, until)
    async with session.db.tenant(session.tenant) as conn:
        found = await count_events(conn, name, begins, until, limit)
    rows = [one.to_json() for one in found]
    session.emit(rows, table(rows, ("eventName", "verdict", "events", "newest")))
    return 0


@events_group.command("show")
@click.argument("event_id")
@command
async def show(session: Session, event_id: str) -> int:
    """Show an event with each wait and workflow it could concern, and why it went there or not."""
    async with session.db.tenant(session.tenant) as conn:
        found = await explain_event(conn, event_id, session.authoring.correlation_paths)
        if found is None:
            raise not_found("EVENT_NOT_FOUND", "event", event_id, session.tenant)
        event = await session.shown(conn, found.event.to_json())
    rows = [candidate.to_json() for candidate in found.candidates]
    facts = {**event, "keys": list(found.keys), "candidates": rows, "notes": list(found.notes)}
    lines = [f"{event_id} ({found.event.event_name}) is {found.event.status}, keys: {', '.join(found.keys) or 'none'}"]
    named = [{**row, "target": _named(row)} for row in rows]
    lines += [*found.notes, table(named, ("kind", "target", "verdict", "why"))]
    session.emit(facts, "\n".join(lines))
    return 0


@events_group.command("requeue")
@click.argument("event_id")
@click.option("--to", "workflow", help="Only the start of this workflow (key or id), which may be undeliverable too.")
@command
async def requeue(session: Session, event_id: str, workflow: str | None) -> int:
    """Try again what is dead about an event: its routing, or deliveries of it."""
    async with session.db.tenant(session.tenant) as conn:
        done = await requeue_event(conn, session.tenant, event_id, workflow)
    text = "is routed again" if done["event"] or done["claims"] else f"sends {done['deliveries']} deliveries again"
    session.emit({"eventId": event_id, **done}, f"event {event_id} {text}")
    return 0


@events_group.command("replay")
@click.argument("event_id", required=False)
@click.option("--name", help="Only events of this name.")
@click.option("--from", "since", type=UTC_TIME, help="Events published at this time (UTC) or later.")
@click.option("--until", type=UTC_TIME, help="Events published before this time (UTC).")
@click.option("--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True)
@click.option("--again", is_flag=True, help="Also what was replayed before.")
@click.option("--with-replays", is_flag=True, help="Of a window, also the events that are replays themselves.")
@click.option("--dry-run", is_flag=True, help="Say who would get them now, and publish nothing.")
@command
async def replay(
    session: Session,
    event_id: str | None,
    name: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    *,
    again: bool,
    with_replays: bool,
    dry_run: bool,
) -> int:
    """Publish an event, or those of a window of time, again under new ids, for the waits and workflows of now.

    What was replayed before is left out, so that the same command can be given twice, and so is what is still to be
    routed. Exit code 1 when there are more events than --limit.
    """
    _check_window(since, until)
    engine, paths = JlensEngine(), session.authoring.correlation_paths
    async with session.db.tenant(session.tenant) as conn:
        found = await events_to_replay(
            conn, event_id, name, since, until, limit, again=again, with_replays=with_replays
        )
        before = {one.event_id: one.replays for one in found.replayed}
        taken: Counter[tuple[str, str]] = Counter()
        if event_id is not None and not found.events and not dry_run:
            message = f"event {event_id!r} was replayed before, as {', '.join(before[event_id])}; --again repeats it"
            raise Refused.one("EVENT_REPLAYED", message, "eventId")
        rows = [
            {
                "eventId": event.event_id,
                "eventName": event.event_name,
                "replayedBefore": before.pop(event.event_id, []),
                **(
                    _prospects(await would_reach(conn, session.tenant, event, engine, paths, taken), taken)
                    if dry_run
                    else await _replayed(conn, session.tenant, event, alone=event_id is not None)
                ),
            }
            for event in found.events
        ]
    rows += [
        {
            "eventId": one.event_id,
            "eventName": one.event_name,
            "replayedBefore": one.replays,
            **({"wouldReach": None, "wouldNotReach": None} if dry_run else {"newEventId": None, "why": None}),
        }
        for one in found.replayed
        if one.event_id in before
    ]
    shown = ("wouldReach", "wouldNotReach") if dry_run else ("newEventId", "why")
    session.emit(rows, table(rows, ("eventId", "eventName", "replayedBefore", *shown)))
    failed = [row for row in rows if row.get("why") is not None]
    if failed:
        click.echo(f"{len(failed)} of them could not be replayed", err=True)
    if before:
        click.echo(f"{len(before)} of them were replayed before and are left out; --again repeats them", err=True)
    if found.pending:
        click.echo(f"{found.pending} others are still to be routed and are left out, not to come twice", err=True)
    if found.more:
        # What could not be replayed comes again, in front of the others.
        goes_on = not (again or dry_run or failed)
        ahead = "the same command goes on with them" if goes_on else "raise --limit, or name a shorter window"
        click.echo(f"there are more than these {limit}: {ahead}", err=True)
    return 1 if found.more or failed else 0


@click.group("waits")
def waits_group() -> None:
    """What runs wait for."""


@waits_group.command("show")
@click.argument("wait_id")
@command
async def show_wait(session: Session, wait_id: str) -> int:
    """Show what a wait is for, and the events of that name since its window began, with why each did not match."""
    async with session.db.tenant(session.tenant) as conn:
        found = await explain_wait(conn, wait_id)
        if found is None:
            message = f"tenant {session.tenant!r} has no wait {wait_id!r}; `workflows runs show` lists those of a run"
            raise Refused.one("WAIT_NOT_FOUND", message, "waitId")
        wait = await session.shown(conn, found.wait.to_json())
    events = [dict(event) for event in found.events]
    text = table([{"field": name, "value": value} for name, value in wait.items()], ("field", "value"))
    session.emit({**wait, "events": events}, f"{text}\n\n{table(events, ('eventId', 'at', 'verdict', 'why'))}")
    return 0


def _check_window(since: datetime | None, until: datetime | None) -> None:
    problems = window_problems(since, until)
    if problems:
        raise Refused(problems)


def _outcome(delivery: Mapping[str, Any]) -> str:
    """Where an event went, and what became of it there."""
    # Before its start is consumed there is no run of this id, and may never be.
    is_to_come = delivery["targetKind"] == "start" and delivery["status"] != "consumed"
    workflow = delivery["workflowKey"] or delivery["targetId"]
    target = f"start of {workflow}" if is_to_come else f"run {delivery['runId']}"
    return f"{target} {delivery['status']}"


def _named(candidate: Mapping[str, Any]) -> str:
    """The wait, or the workflow by its key, with the run that has been started."""
    key = candidate["workflowKey"]
    if candidate["kind"] != "start" or key is None:
        return str(candidate["targetId"])
    return f"{key}, as run {candidate['runId']}" if candidate["verdict"] == "consumed" else str(key)


def _others(event: Mapping[str, Any]) -> list[str]:
    others = event["deliveryCount"] - len(event["deliveries"])
    return [f"and {others} others"] if others else []


def _reasons(event: Mapping[str, Any]) -> list[str]:
    """Why it is as it is, on one line: each reason once."""
    if event["status"] == "routed" and not event["deliveries"]:
        return [f"{UNMATCHED}: `workflows events show` says who it could have concerned"]
    told = [event["errorMessage"], *(delivery["reason"] for delivery in event["deliveries"])]
    return list(dict.fromkeys(" ".join(reason.split()) for reason in told if reason))


async def _replayed(conn: AsyncConnection, tenant: str, event: EventRow, *, alone: bool) -> dict[str, Any]:
    try:
        async with conn.begin_nested():
            return {"newEventId": await replay_event(conn, tenant, event), "why": None}
    except Refused as error:
        if alone:
            raise
        # It stops none of the others of its window.
        return {"newEventId": None, "why": error.message}


def _prospects(candidates: Sequence[Candidate], taken: Counter[tuple[str, str]]) -> dict[str, Any]:
    """Who gets an event and who does not; the former are counted for the events behind it."""
    reached = [one for one in candidates if one.verdict == "match"]
    taken.update((one.kind, one.target_id) for one in reached)
    return {
        "wouldReach": [_target(one) for one in reached],
        "wouldNotReach": [f"{_target(one)}: {one.verdict}, {one.why}" for one in candidates if one not in reached],
    }


def _target(candidate: Candidate) -> str:
    return f"{candidate.kind} {candidate.target_id}"
