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

EVERY = '[[schedule]]\nid = "x"\nworkflow = "readiness"\nqueue = "alga-jobs"\nevery_seconds = {}'


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
        "schedule 'often': give either every_seconds or cron",
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


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("schedule = 5", "schedule must be tables, each under a line [[schedule]]"),
        ('[schedule]\nid = "x"', "schedule must be tables, each under a line [[schedule]]"),
        ('schedule = ["x"]', "schedule must be tables, each under a line [[schedule]]"),
        # Else each of its letters would be an id of a schedule that is to go.
        ('retired = "old"', "retired must be a list of ids"),
        ("retired = 5", "retired must be a list of ids"),
        ("retired = [1]", "retired must be a list of ids"),
        (EVERY.format("inf"), "schedule 'x': every_seconds: "),
        (f"{EVERY.format(60)}\nexecution_timeout_seconds = inf", "schedule 'x': execution_timeout_seconds: "),
        (f"{EVERY.format(60)}\ncatchup_seconds = 1e300", "schedule 'x': catchup_seconds: "),
        (f"{EVERY.format(60)}\narguments = [2026-01-01]", "schedule 'x': arguments: must be JSON values"),
        (
            f"{EVERY.format(60)}\narguments = [{{ a = nan }}]",
            "schedule 'x': arguments: must be JSON values",
        ),
    ],
)
async def test_a_file_of_another_shape_is_refused_at_the_start(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "schedules.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(StartRefused) as caught:
        read_schedules(path, QUEUES)
    (problem,) = caught.value.problems
    assert (problem.code, problem.message[: len(said)]) == ("SCHEDULES_INVALID", said)
