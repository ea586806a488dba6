"""A child process that cannot outlive its parent, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.service_process import alive
from workflows_cli.embedded.child import Child, Program
from workflows_cli.embedded.failures import EmbeddedStartFailed

WAITS = "import signal, sys; print('waiting', flush=True); signal.sigwait([signal.SIGUSR1]); sys.exit(7)"


def program(directory: Path, code: str, command: Sequence[str] | None = None) -> Program:
    work = directory / "work"
    work.mkdir(exist_ok=True)
    return Program(
        name="The program",
        command=command or [sys.executable, "-c", code],
        directory=work,
        log=directory / "log",
        environment=os.environ,
        stop_signal=signal.SIGTERM,
        remove=[work],
    )


def wait_for_log(directory: Path, text: str) -> None:
    while text not in (directory / "log").read_text():
        time.sleep(0.01)


def test_stop_ends_the_program_and_removes_its_directory(tmp_path: Path) -> None:
    child = Child.start(program(tmp_path, WAITS))
    assert alive(child.pid)
    assert child.exit_code is None
    child.stop()
    assert not alive(child.pid)
    assert not (tmp_path / "work").exists()


def test_stop_can_leave_the_directory(tmp_path: Path) -> None:
    child = Child.start(program(tmp_path, WAITS))
    child.stop(keep=True)
    assert not alive(child.pid)
    assert (tmp_path / "work").exists()


def test_an_early_end_is_reported_with_the_last_lines(tmp_path: Path) -> None:
    child = Child.start(program(tmp_path, "import sys; print('no room left'); sys.exit(3)"))
    while child.exit_code is None:
        time.sleep(0.01)
    with pytest.raises(EmbeddedStartFailed, match=r"(?s)The program ended with exit code 3 .*no room left") as failed:
        child.require_running()
    assert failed.value.code == "EMBEDDED_START_FAILED"
    child.stop()


def test_a_program_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedStartFailed, match=r"The program cannot be started: .*No such file.*nowhere"):
        Child.start(program(tmp_path, "", ["/nowhere/to/be/found"]))


def test_a_deaf_program_is_killed_after_the_grace(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    child = Child.start(replace(program(tmp_path, deaf), grace_seconds=0.2))
    wait_for_log(tmp_path, "deaf")
    child.stop()
    assert not alive(child.pid)
    assert child.exit_code == 128 + signal.SIGKILL


def test_a_forked_copy_of_the_starter_does_not_end_the_program(tmp_path: Path) -> None:
    child = Child.start(program(tmp_path, WAITS))
    copy = Child(child.program, child.pid, child._guard, _owner=child._owner + 1)
    copy.stop()
    assert child.exit_code is None
    child.stop()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the parent-death signal is Linux's")
def test_the_program_ends_with_its_guard_too(tmp_path: Path) -> None:
    child = Child.start(program(tmp_path, WAITS))
    os.kill(child._guard.pid, signal.SIGKILL)
    while alive(child.pid):
        time.sleep(0.01)
    child.stop()
