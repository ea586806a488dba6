"""An event loop that stands still is seen: by liveness, and in the log with the place."""

from __future__ import annotations

import asyncio
import signal
import sys
import time

import pytest
from loguru import logger

from service_host import loop_lag
from service_host.loop_lag import LoopLag
from service_host.progress import Progress

pytestmark = pytest.mark.asyncio


def compute_for_long() -> None:
    time.sleep(0.6)


async def test_hole_35_a_loop_that_stands_still_is_not_alive_and_the_log_says_where(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop_lag, "ALIVE_SECONDS", 0.3)
    lines: list[tuple[str, str]] = []
    sink = logger.add(
        lambda message: lines.append((message.record["extra"].get("event", ""), message.record["message"]))
    )
    turns: list[int] = []
    lag = LoopLag(blocked_seconds=0.2, on_turn=lambda: turns.append(1))
    measuring = asyncio.create_task(lag.run(Progress("event-loop")))
    try:
        await asyncio.sleep(0.6)
        assert lag.alive()
        assert turns
        compute_for_long()
        async with asyncio.timeout(5):
            while "event_loop_free" not in [event for event, _ in lines]:
                await asyncio.sleep(0.02)
        assert not lag.alive()
        assert lag.worst() >= 0.3
    finally:
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)
        logger.remove(sink)
    blocked = [message for event, message in lines if event == "event_loop_blocked"]
    assert len(blocked) == 1
    assert "compute_for_long" in blocked[0]


_TURNS = """
import asyncio
from service_host.loop_lag import LoopLag
from service_host.progress import Progress

asyncio.run(LoopLag(blocked_seconds=0.5, on_turn=lambda: print("turns", flush=True)).run(Progress("event-loop")))
"""


async def test_a_process_that_was_stopped_blames_no_place_of_its_own() -> None:
    """The log said where it stood, as if that had been what held it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _TURNS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert await process.stdout.readline() == b"turns\n"
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(2)
        process.send_signal(signal.SIGCONT)
        told = ""
        while "has not" not in told:
            told = (await process.stderr.readline()).decode()
    finally:
        process.kill()
        await process.wait()
    assert "the process has not run for " in told
    assert "it was stopped, its machine was suspended, or others had the processors" in told
    assert "it stands here" not in told
