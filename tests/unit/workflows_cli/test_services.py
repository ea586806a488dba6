"""A service that is told to stop before it has begun."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from workflows_cli.dev import processes
from workflows_cli.dev.processes import ServiceProcess

pytestmark = pytest.mark.asyncio


class _Slow:
    """In place of a program: one that begins when it is let, and knows whether it was stopped."""

    begun = threading.Event()
    let = threading.Event()
    stopped = False

    @classmethod
    def start(cls, _: object) -> _Slow:
        cls.begun.set()
        assert cls.let.wait(10)
        return cls()

    def stop(self) -> None:
        _Slow.stopped = True


async def test_a_start_that_is_cut_leaves_no_process_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A thread is not cut: what it started ran on, without the servers, behind the end of its stack."""
    monkeypatch.setattr(processes, "Child", _Slow)
    starting = asyncio.create_task(ServiceProcess.start("workflow-server", {}, tmp_path / "log"))
    await asyncio.to_thread(_Slow.begun.wait, 10)
    starting.cancel()
    asyncio.get_running_loop().call_later(0.05, _Slow.let.set)
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert _Slow.stopped
