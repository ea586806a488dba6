"""Events that are replayed or requeued by an operator: nothing twice unnoticed, nothing left out unsaid."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from harness.databases import MigratedDatabase
from harness.operator import command, refused, workflows
from harness.run_records import TENANT, publish, rows
from workflows_core.launching.events import events_to_replay, replay_event
from workflows_core.storage.database import Database

pytestmark = pytest.mark.asyncio(loop_scope="session")
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def environment(database: MigratedDatabase) -> dict[str, str]:
    """An installation without any process; what is asked here needs no Temporal."""
    return {**database.environment, "TEMPORAL_ADDRESS": "127.0.0.1:1", "WORKFLOWS_TENANT": TENANT}


async def replays(db: Database) -> dict[str, list[str]]:
    """What was replayed, and as which events, in the order of publishing."""
    found: dict[str, list[str]] = {}
    for row in await rows(db, "workflow_runtime_events", order="created_at"):
        if row["replay_of"] is not None:
            found.setdefault(row["replay_of"], []).append(row["event_id"])
    return found


async def test_a_window_that_is_replayed_a_second_time_repeats_nothing(
    environment: dict[str, str], db: Database
) -> None:
    """It repeated the events, and its own replays of them too."""
    for event_id in ("e1", "e2"):
        await publish(db, event_id)
    window = ("events", "replay", "--from", "2026-01-01")
    first = await workflows(environment, *window)
    assert [(row["eventId"], row["replayedBefore"]) for row in first] == [("e1", []), ("e2", [])]
    new_ids = {row["eventId"]: [row["newEventId"]] for row in first}
    assert await replays(db) == new_ids
    await publish(db, "e3")
    for options, made in ((("--dry-run",), False), ((), True)):
        code, output, error = await command(environment, *window, *options, "--format", "json")
        said = {row["eventId"]: row for row in json.loads(output)}
        assert (code, list(said)) == (0, ["e3", "e1", "e2"])
        assert {name: said[name]["replayedBefore"] for name in new_ids} == new_ids
        assert "2 of them were replayed before and are left out; --again repeats them" in error
        assert said["e1"]["newEventId" if made else "wouldReach"] is None
        assert (said["e3"]["newEventId"] if made else said["e3"]["wouldReach"]) or not made
    assert {name: len(made) for name, made in (await replays(db)).items()} == {"e1": 1, "e2": 1, "e3": 1}
    again = await workflows(environment, *window, "--again")
    assert [(row["eventId"], len(row["replayedBefore"])) for row in again] == [("e1", 1), ("e2", 1), ("e3", 1)]
    assert {len(made) for made in (await replays(db)).values()} == {2}
    assert len(await workflows(environment, *window, "--again", "--with-replays", "--dry-run")) == 9


async def test_one_event_is_replayed_a_second_time_only_when_that_is_asked_for(
    environment: dict[str, str], db: Database
) -> None:
    await publish(db, "e1")
    (made,) = await workflows(environment, "events", "replay", "e1")
    message = await refused(environment, "events", "replay", "e1")
    assert f"EVENT_REPLAYED at eventId: event 'e1' was replayed before, as {made['newEventId']}" in message
    (told,) = await workflows(environment, "events", "replay", "e1", "--dry-run")
    assert told["replayedBefore"] == [made["newEventId"]]
    await workflows(environment, "events", "replay", made["newEventId"])
    (again,) = await workflows(environment, "events", "replay", "e1", "--again")
    assert await replays(db) == {
        "e1": [made["newEventId"], again["newEventId"]],
        made["newEventId"]: [*(await replays(db))[made["newEventId"]]],
    }


async def test_a_window_with_more_events_than_the_limit_says_so_and_the_same_command_goes_on(
    environment: dict[str, str], db: Database
) -> None:
    """It took the first of them, and looked done."""
    for number in range(5):
        await publish(db, f"e{number}")
    window = ("events", "replay", "--from", "2026-01-01", "--limit", "2", "--format", "json")
    code, output, error = await command(environment, *window, "--dry-run")
    assert (code, len(json.loads(output))) == (1, 2)
    assert "there are more than these 2: raise --limit" in error
    for before, expected in ((0, 1), (2, 1), (4, 0)):
        code, output, error = await command(environment, *window)
        assert (code, len(json.loads(output))) == (expected, min(before + 2, 5))
        assert ("there are more than these 2: the same command goes on with them" in error) == bool(expected)
    assert {name: len(made) for name, made in (await replays(db)).items()} == {f"e{number}": 1 for number in range(5)}


async def test_two_who_replay_a_window_at_the_same_time_replay_it_once(db: Database) -> None:
    for number in range(20):
        await publish(db, f"e{number}")

    async def replay() -> None:
        async with db.tenant(TENANT) as conn:
            for event in (await events_to_replay(conn, None, None, LONG_AGO, None, 100)).events:
                await replay_event(conn, TENANT, event)

    await asyncio.gather(*(replay() for _ in range(3)))
    assert [len(made) for made in (await replays(db)).values()] == [1] * 20


async def test_times_are_taken_as_answers_have_them(environment: dict[str, str], db: Database) -> None:
    await publish(db, "e1")
    (event,) = await workflows(environment, "events", "list")
    at = datetime.fromisoformat(event["createdAt"])
    after = (at + timedelta(microseconds=1)).astimezone(UTC)
    forms = [after.isoformat(), after.isoformat().replace("+00:00", "Z"), after.replace(tzinfo=None).isoformat()]
    forms.append(after.astimezone(tz=datetime.strptime("+0530", "%z").tzinfo).isoformat())
    for until in forms:
        window = ("events", "replay", "--from", event["createdAt"], "--until", until, "--dry-run")
        assert [row["eventId"] for row in await workflows(environment, *window)] == ["e1"], until
        assert await workflows(environment, "events", "replay", "--from", until, "--dry-run") == [], until
    for wrong in ("2026-11-30 01:00:00", "yesterday", "0001-01-01T00:00:00+14:00", "2026-13-01"):
        message = await refused(environment, "events", "replay", "--from", wrong, code=2)
        assert "is no date or time such as 2026-11-30 or 2026-11-30T01:00:00Z" in message, wrong
    backfill = ("schedules", "backfill", "x", "--from", "2020-01-01T00:00:00Z", "--until")
    assert "UNREACHABLE" in await refused(environment, *backfill, "2020-01-01T02:00:00+02:00"), "it was taken"
    assert "must not be before --from" in await refused(environment, *backfill, "2020-01-01T01:00:00+02:00")
