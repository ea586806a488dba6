"""Clocks that differ, and one that is set back: runs find what they wait for, tasks have their time, and it is told."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from temporalio.client import Client

from harness.authored import authored_runtime
from harness.ingress import ingress, route
from harness.interpreted import document, wait
from harness.run_records import EXECUTION, TENANT, a_wait, a_write, deliveries_of, publish, rows
from workflows_core.launching.launcher import Launcher
from workflows_core.launching.reminders import TaskReminders
from workflows_core.launching.request import LaunchRequest
from workflows_core.storage.announcing import keep_announced
from workflows_core.storage.database import Database
from workflows_core.storage.human_tasks import answer_task
from workflows_core.storage.processes import Announcement
from workflows_core.storage.run_writes import write_run

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]
ORDERED = {"type": "event", "eventName": "ORDERED", "payloadMapping": {"id": {"$expr": "event.payload.id"}}}
SECONDS = 90


async def set_back(db: Database, seconds: float, *, gone_on_from: bool = True) -> None:
    """What was noted of the clock is so much ahead of it, as behind such a change; some has been routed behind it."""
    noted = "CAST((extract(epoch FROM clock_timestamp()) + :seconds) * 1000000 AS bigint)"
    values = {"seconds": seconds, "given": gone_on_from}
    async with db.narrow() as conn:
        await conn.execute(text(f"SELECT setval('workflow_routing_clock', {noted}, :given)"), values)


async def times_of_routing(db: Database, seconds: float) -> list[datetime]:
    """As many as there are in so many seconds."""
    found = []
    ends = time.monotonic() + seconds
    async with db.narrow() as conn:
        while time.monotonic() < ends:
            found.append((await conn.execute(text("SELECT workflow_routing_time()"))).scalar_one())
            await asyncio.sleep(0.002)
    return found


async def test_a_run_that_began_before_finds_what_is_routed_behind_it(db: Database) -> None:
    """The wait looked back to a time that the clock had not come to again."""
    await set_back(db, SECONDS)
    await publish(db, "e1")
    await route(db)
    began = int(time.time() + SECONDS - 10) * 1000
    await write_run(db, a_write(1, waits=[a_wait(look_back_from=began)]), EXECUTION)
    assert await deliveries_of(db) == {("e1", "wait-1"): "new"}


async def test_an_event_that_starts_a_run_is_before_what_the_run_waits_for(db: Database, client: Client) -> None:
    """Of one millisecond the second is not behind the first."""
    await set_back(db, SECONDS)
    async with authored_runtime(db, client) as authored:
        await authored.publish({**document(wait("PAID", "payload.id")), "trigger": ORDERED})
        await publish(db, "before", "k1")
        await route(db)
        await publish(db, "o1", event_name="ORDERED", payload={"id": "k1"})
        await publish(db, "behind", "k1")
        await route(db)
        async with ingress(db, client), asyncio.timeout(60):
            while [row["status"] for row in await rows(db, "workflow_runs")] != ["SUCCEEDED"]:
                await asyncio.sleep(0.02)
    (taken,) = [row for row in await rows(db, "workflow_event_deliveries") if row["target_kind"] == "wait"]
    assert (taken["event_id"], taken["status"]) == ("behind", "consumed")


async def test_the_order_of_routing_is_kept(db: Database) -> None:
    await set_back(db, SECONDS)
    events = [f"e{number}" for number in range(5)]
    for event_id in events:
        await publish(db, event_id)
        await route(db)
    assert [row["event_id"] for row in await rows(db, "workflow_runtime_events", order="processed_at")] == events


@pytest.mark.parametrize("seconds", [1.05, 0.15, 0.05])
async def test_the_order_of_routing_is_kept_where_the_clock_comes_to_where_it_was(db: Database, seconds: float) -> None:
    """It went back by a second there: a run that an event had started did not look back to what was routed then."""
    await set_back(db, seconds)
    found = await times_of_routing(db, 0.1)
    assert len(found) > 5
    assert found == sorted(found)


async def test_a_clock_that_is_set_back_by_little_is_followed_too(db: Database) -> None:
    """What is noted is ahead of what has been given out, and that was more than the clock was late."""
    before = datetime.now(UTC)
    await set_back(db, 0.3 + 0.1, gone_on_from=False)
    assert min(await times_of_routing(db, 0.02)) >= before + timedelta(seconds=0.3)


async def test_a_clock_that_is_not_late_is_followed_where_many_ask_at_once(db: Database) -> None:
    """Who read it before another one noted his took it for late: of some hundred a second one in twenty was ahead."""
    await set_back(db, 0.1, gone_on_from=False)
    asked = "SELECT count(*) FROM generate_series(1, 30000) WHERE workflow_routing_time() > clock_timestamp()"

    async def ahead() -> int:
        async with db.narrow() as conn:
            return int((await conn.execute(text(asked))).scalar_one())

    assert sum(await asyncio.gather(ahead(), ahead(), ahead())) == 0


async def test_a_clock_that_is_set_back_by_more_than_is_followed_is_believed(db: Database) -> None:
    """Else every run would look back to all there was since a clock had been wrong by a year."""
    await set_back(db, 3600)
    for event_id in ("e1", "e2"):
        await publish(db, event_id)
        await route(db)
    late = datetime.now(UTC) + timedelta(minutes=1)
    assert all(row["processed_at"] < late for row in await rows(db, "workflow_runtime_events"))


async def test_no_event_is_routed_at_a_time_before_the_start_of_a_run_that_is_open(
    db: Database, client: Client
) -> None:
    async with authored_runtime(db, client) as authored:
        workflow_id, _, _ = await authored.publish(document(wait("PAID", "payload.id")))
        await Launcher(db, client).launch(LaunchRequest(TENANT, workflow_id, payload={"id": "k1"}))
    async with db.narrow() as conn:
        noted = text("SELECT timestamptz 'epoch' + last_value * interval '1 microsecond' FROM workflow_routing_clock")
        at = (await conn.execute(noted)).scalar_one()
    (run,) = await rows(db, "workflow_runs")
    assert at >= run["started_at"]


HOUR_MS = 3_600_000


@pytest.mark.parametrize("ahead_ms", [-HOUR_MS, 0, HOUR_MS])
async def test_a_task_has_its_time_whatever_temporals_clock_says(db: Database, ahead_ms: int) -> None:
    """With a late one it was overdue and expired at once; with an early one it stayed open for too long."""
    opened = int(time.time() * 1000) + ahead_ms
    asked = {"taskId": "wait-1", "taskType": "t", "title": "T", "dueAt": opened + 60_000}
    payload = {**asked, "assignedUsers": [], "assignedRoles": []}
    task = a_wait(wait_type="human", opened_at=opened, timeout_at=opened + 120_000, payload=payload)
    await write_run(db, {**a_write(1, waits=[task]), "temporal_ahead_ms": float(ahead_ms)}, EXECUTION)
    assert await TaskReminders(db).one_pass() == 0
    (row,) = await rows(db, "workflow_tasks")
    assert abs((row["due_date"] - datetime.now(UTC)).total_seconds() - 60) < 30
    assert row["expires_at"] - row["due_date"] == timedelta(minutes=1)
    async with db.tenant(TENANT) as conn:
        await answer_task(conn, TENANT, "wait-1", {}, "ada")


class Beats:
    """What a heartbeat tells, for so many beats."""

    def __init__(self, beats: int) -> None:
        self.beats = beats
        self.said: list[str] = []

    def mark(self, detail: str = "") -> None:
        self.said.append(detail)

    def degraded(self, reason: str) -> None:
        raise AssertionError(reason)

    async def pause(self, seconds: float) -> bool:
        return len(self.said) == self.beats


async def test_clocks_that_differ_are_told_by_every_process_and_once_in_its_log(
    db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    beats, announcement = Beats(3), Announcement("w@h:1", "workflow-worker", "1", [])
    real = time.time
    monkeypatch.setattr("workflows_core.storage.processes.time.time", lambda: real() - (90 if beats.beats > 3 else 0))
    await keep_announced(db, announcement, beats, lambda: 0.5)
    assert beats.said == [""] * 3
    assert not [record for record in caplog.records if "clocks" in record.getMessage()]

    beats = Beats(4)
    lead = iter([-40.0, None, -40.0, None])
    await keep_announced(db, announcement, beats, lambda: next(lead))
    database = "degraded: the clock of the database is 90 s ahead of this process's"
    both = f"{database}; the clock of Temporal is 40 s behind this process's"
    assert beats.said == [both, database, both, database]
    told = [record for record in caplog.records if "clocks" in record.getMessage()]
    assert [(record.levelname, getattr(record, "event", "")) for record in told] == [("WARNING", "clocks_differ")]
