"""The supervisor on a real event loop: restarts, budgets, drain order, signals, exit codes."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from service_host.errors import StartRefused
from service_host.progress import Loop, LoopState, Progress, RestartBudget, StopStage
from service_host.supervisor import Supervisor

QUICK = RestartBudget(restarts=3, within_seconds=60, first_delay_seconds=0.001, longest_delay_seconds=0.001)
pytestmark = pytest.mark.asyncio


class Ended(Exception):
    """Stands for the end of the process."""


async def nothing() -> None:
    """A start-up that needs nothing."""


async def until_stopped(progress: Progress) -> None:
    progress.mark()
    await progress.stopping.wait()


async def settle(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_loop_that_dies_is_started_again_while_others_go_on() -> None:
    supervisor = Supervisor("service")
    lives: list[int] = []

    async def dies_twice(progress: Progress) -> None:
        lives.append(len(lives))
        if len(lives) <= 2:
            raise RuntimeError("gone")
        await until_stopped(progress)

    steady = supervisor.add(Loop("steady", until_stopped))
    fragile = supervisor.add(Loop("fragile", dies_twice, restarts=QUICK))
    running = asyncio.create_task(supervisor.run(nothing))
    await settle(lambda: fragile.state is LoopState.RUNNING)
    assert (len(lives), fragile.restarts, steady.restarts) == (3, 2, 0)
    supervisor.request_stop("enough")
    assert await running == 0
    assert {report.state for report in supervisor.reports()} == {LoopState.STOPPED}


async def test_returning_early_is_a_death_too() -> None:
    supervisor, lives = Supervisor("service"), []

    async def returns(progress: Progress) -> None:
        lives.append(progress)

    supervisor.add(Loop("short", returns, restarts=QUICK))
    assert await supervisor.run(nothing) == 1
    assert len(lives) == 4


async def test_a_spent_budget_drains_the_others_and_exits_non_zero() -> None:
    supervisor, drained = Supervisor("service"), []

    async def graceful(progress: Progress) -> None:
        await progress.stopping.wait()
        drained.append("graceful")

    async def dies(progress: Progress) -> None:
        raise RuntimeError("again")

    supervisor.add(Loop("graceful", graceful, stop_within=5))
    supervisor.add(Loop("hopeless", dies, restarts=RestartBudget(restarts=0)))
    assert await supervisor.run(nothing) == 1
    assert drained == ["graceful"]


async def test_a_loop_that_is_refused_is_given_up_at_once_and_says_so_by_the_exit_code() -> None:
    supervisor, lives = Supervisor("service"), []

    async def refused(progress: Progress) -> None:
        lives.append(1)
        raise StartRefused.one("SETTING_INVALID", "X", "is wrong")

    supervisor.add(Loop("refused", refused, restarts=QUICK))
    assert await supervisor.run(nothing) == 2
    assert lives == [1]


async def test_the_first_reason_to_end_decides_the_exit_code() -> None:
    supervisor = Supervisor("service")
    running = asyncio.create_task(supervisor.run(nothing))
    await settle(lambda: supervisor.start[0])
    for code in (0, 2, 1):
        supervisor.request_stop("enough", code)
    assert await running == 2


async def test_a_loop_that_is_added_while_others_stop_does_not_start() -> None:
    supervisor, lives = Supervisor("service"), []

    async def late(progress: Progress) -> None:
        lives.append("late")

    async def adds_another(progress: Progress) -> None:
        await progress.stopping.wait()
        supervisor.add(Loop("late", late, stage=list(StopStage)[-1], stop_within=5))

    supervisor.add(Loop("first", adds_another, stage=next(iter(StopStage)), stop_within=5))
    running = asyncio.create_task(supervisor.run(nothing))
    await settle(lambda: supervisor.start[0])
    supervisor.request_stop("enough")
    assert await running == 0
    assert lives == []


async def test_deaths_outside_the_window_are_forgotten() -> None:
    supervisor, lives = Supervisor("service"), []

    async def dies_slowly(progress: Progress) -> None:
        lives.append(1)
        await asyncio.sleep(0.03)
        if len(lives) < 5:
            raise RuntimeError("again")
        await until_stopped(progress)

    budget = RestartBudget(restarts=1, within_seconds=0.02, first_delay_seconds=0.001, longest_delay_seconds=0.001)
    progress = supervisor.add(Loop("slow", dies_slowly, restarts=budget))
    running = asyncio.create_task(supervisor.run(nothing))
    await settle(lambda: progress.state is LoopState.RUNNING)
    supervisor.request_stop("enough")
    assert await running == 0


async def test_loops_stop_stage_by_stage() -> None:
    supervisor, order = Supervisor("service"), []

    def loop_of(stage: StopStage) -> Loop:
        async def run(progress: Progress) -> None:
            await progress.stopping.wait()
            order.append(f"{stage.name} asked")
            await asyncio.sleep(0.01)
            order.append(f"{stage.name} stopped")

        return Loop(stage.name, run, stage=stage, stop_within=5)

    for stage in reversed(StopStage):
        supervisor.add(loop_of(stage))
    running = asyncio.create_task(supervisor.run(nothing))
    await settle(lambda: supervisor.start[0])
    supervisor.request_stop("enough")
    assert await running == 0
    assert order == [f"{stage.name} {word}" for stage in StopStage for word in ("asked", "stopped")]


async def test_a_loop_that_does_not_listen_is_cancelled() -> None:
    supervisor, cancelled = Supervisor("service"), []

    async def deaf(progress: Progress) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append("deaf")

    supervisor.add(Loop("deaf", deaf, stop_within=0.01))
    running = asyncio.create_task(supervisor.run(nothing))
    await settle(lambda: supervisor.start[0])
    supervisor.request_stop("enough")
    assert await running == 0
    assert cancelled == ["deaf"]


async def test_an_overdue_drain_ends_the_process() -> None:
    codes: list[int] = []
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end_now(code: int) -> None:
        codes.append(code)
        loop.call_soon_threadsafe(release.set)

    async def stubborn(progress: Progress) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    supervisor = Supervisor("service", drain_seconds=0.05, end_now=end_now)
    supervisor.add(Loop("stubborn", stubborn))
    running = asyncio.create_task(supervisor.run(nothing))
    await settle(lambda: supervisor.start[0])
    supervisor.request_stop("enough")
    await running
    assert codes == [1]


async def test_start_up_adds_loops_that_run_at_once_and_waiting_is_told() -> None:
    supervisor, release = Supervisor("service"), asyncio.Event()

    async def start_up() -> None:
        supervisor.waiting("waiting for the sun")
        await release.wait()
        supervisor.add(Loop("late", until_stopped))

    running = asyncio.create_task(supervisor.run(start_up))
    await settle(lambda: supervisor.start == (False, "waiting for the sun"))
    release.set()
    await settle(lambda: any(report.state is LoopState.RUNNING for report in supervisor.reports()))
    assert supervisor.start[0]
    supervisor.request_stop("enough")
    assert await running == 0


@pytest.mark.parametrize(("error", "code"), [(StartRefused.one("A_CODE", "X", "m"), 2), (RuntimeError("broken"), 1)])
async def test_a_failed_start_up_drains_and_says_so_by_the_exit_code(error: Exception, code: int) -> None:
    supervisor = Supervisor("service")
    progress = supervisor.add(Loop("steady", until_stopped))

    async def start_up() -> None:
        raise error

    assert await supervisor.run(start_up) == code
    assert progress.state is LoopState.STOPPED


async def test_a_signal_drains_even_while_start_up_waits() -> None:
    supervisor = Supervisor("service")

    async def waits_for_ever() -> None:
        await asyncio.Event().wait()

    running = asyncio.create_task(supervisor.run(waits_for_ever))
    await asyncio.sleep(0)
    await settle(lambda: signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None))
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    assert supervisor.draining


async def test_a_second_signal_ends_at_once() -> None:
    codes: list[int] = []
    release = asyncio.Event()

    async def slow_to_stop(progress: Progress) -> None:
        await release.wait()

    def end_now(code: int) -> None:
        codes.append(code)
        release.set()

    supervisor = Supervisor("service", end_now=end_now)
    supervisor.add(Loop("slow", slow_to_stop, stop_within=60))
    running = asyncio.create_task(supervisor.run(nothing))
    await settle(lambda: supervisor.start[0])
    os.kill(os.getpid(), signal.SIGTERM)
    await settle(lambda: supervisor.draining)
    assert codes == []
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert codes == [128 + signal.SIGTERM]


async def test_names_are_unique() -> None:
    supervisor = Supervisor("service")
    supervisor.add(Loop("one", until_stopped))
    with pytest.raises(ValueError, match="'one'"):
        supervisor.add(Loop("one", until_stopped))


async def test_a_loop_that_no_longer_turns_is_reported() -> None:
    supervisor = Supervisor("service")
    progress = supervisor.add(Loop("turning", until_stopped, turns_within=5))
    progress.mark()
    assert supervisor.reports()[0].healthy
    progress.last_turn -= 6
    assert not supervisor.reports()[0].turns
    progress.degraded("the database is away")
    report = supervisor.reports()[0]
    assert (report.turns, report.healthy, report.detail) == (True, False, "the database is away")


async def test_pause_ends_early_when_asked_to_stop() -> None:
    progress = Progress("any")
    assert await progress.pause(0.001) is False
    progress.stopping.set()
    assert await progress.pause(3600) is True
