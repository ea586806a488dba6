"""Boot work of temporal-worker: each schedule on its own (hole 43)."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from service_host.errors import StartRefused
from temporal_worker.schedules import DomainSchedule, Schedules, bring, read_schedules

pytestmark = pytest.mark.asyncio(loop_scope="session")
QUEUES = ("alga-jobs", "tenant-workflows")
GOOD = """
retired = ["old"]

[[schedule]]
id = "nightly"
workflow = "readiness"
queue = "tenant-workflows"
cron = "0 3 * * *"
timezone = "Europe/Berlin"

[[schedule]]
id = "often"
workflow = "readiness"
queue = "alga-jobs"
every_seconds = 900
arguments = ["hello"]
"""


def interval(name: str, seconds: float = 3600.0) -> DomainSchedule:
    return DomainSchedule(id=name, workflow="readiness", queue="alga-jobs", every_seconds=seconds)


async def test_hole_43_a_schedule_that_is_refused_neither_hides_nor_blocks_the_others(client: Client) -> None:
    broken = DomainSchedule(id="broken", workflow="readiness", queue="alga-jobs", cron="not a rhythm")
    wanted = Schedules([interval("first"), broken, interval("last")])
    try:
        failed = await bring(client, wanted)
        assert list(failed) == ["broken"]
        assert "INVALID_ARGUMENT" in failed["broken"]
        for name in ("first", "last"):
            found = await client.get_schedule_handle(name).describe()
            assert found.schedule.spec.intervals[0].every.total_seconds() == 3600
        await client.get_schedule_handle("first").pause(note="an operator")
        assert await bring(client, Schedules([interval("first", 60.0), interval("last")], ["never-was"])) == {}
        again = await client.get_schedule_handle("first").describe()
        assert again.schedule.spec.intervals[0].every.total_seconds() == 60
        assert again.schedule.state.paused
        assert again.schedule.state.note == "an operator"
    finally:
        assert await bring(client, Schedules(retired=["first", "last"])) == {}
    # Each by its id: the server's list follows later.
    for name in ("first", "last", "broken"):
        with pytest.raises(RPCError, match="not found"):
            await client.get_schedule_handle(name).describe()


async def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "schedules.toml"
    path.write_text(GOOD, encoding="utf-8")
    found = read_schedules(path, QUEUES)
    assert [schedule.id for schedule in found.wanted] == ["nightly", "often"]
    assert found.retired == ["old"]
    assert read_schedules(None, QUEUES) == Schedules()


async def test_everything_that_is_wrong_with_a_file_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "schedules.toml"
    more = """
[[schedule]]
id = "often"
workflow = "x"
queue = "workflow-runtime-v2"
every_seconds = 900
cron = "* * * * *"

[[schedule]]
id = "elsewhere"
workflow = "x"
queue = "workflow-runtime-v2"
every_seconds = 10
colour = "red"

[[schedule]]
id = "foreign"
workflow = "x"
queue = "workflow-runtime-v2"
every_seconds = 10

[[schedule]]
id = "nightly"
workflow = "x"
queue = "alga-jobs"
every_seconds = 10

[other]
"""
    path.write_text(GOOD + more, encoding="utf-8")
    with pytest.raises(StartRefused) as caught:
        read_schedules(path, QUEUES)
    said = "\n".join(str(problem) for problem in caught.value.problems)
    for part in (
        "schedule 'often': Value error, give either every_seconds or cron",
        "schedule 'elsewhere': colour: Extra inputs are not permitted",
        "schedule 'foreign': queue 'workflow-runtime-v2' is not polled by this process",
        "'nightly' is declared twice",
        "unknown table or key 'other'",
    ):
        assert part in said
    assert {problem.code for problem in caught.value.problems} == {"SCHEDULES_INVALID"}
    path.write_text("schedule = [", encoding="utf-8")
    with pytest.raises(StartRefused, match="cannot be read"):
        read_schedules(path, QUEUES)
