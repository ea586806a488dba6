"""One server as a child process that cannot outlive the process that started it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workflows_cli.embedded.failures import EmbeddedStartFailed, last_lines

_GUARD = Path(__file__).with_name("guard.py")


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system's user that a server runs as."""

    user: int
    group: int


@dataclass(frozen=True, slots=True)
class Program:
    """What to run and what to leave behind.

    Attributes:
        name: For messages, such as "PostgreSQL".
        command: Program and arguments.
        directory: Working directory.
        log: File that gets the program's output, appended.
        environment: The whole environment of the program.
        stop_signal: How it is asked to end.
        account: Another user to run as; None for this one.
        remove: Directories deleted once it has ended, also when this process was killed.
        grace_seconds: How long it may take to end before it is killed.
    """

    name: str
    command: Sequence[str]
    directory: Path
    log: Path
    environment: Mapping[str, str]
    stop_signal: signal.Signals
    account: Account | None = None
    remove: Sequence[Path] = ()
    grace_seconds: float = 10


@dataclass(slots=True)
class Child:
    """A running program. It ends with `stop`, or with the process that started it, whatever ends that."""

    program: Program
    pid: int
    _guard: subprocess.Popen[bytes]
    _owner: int = field(default_factory=os.getpid)

    @classmethod
    def start(cls, program: Program, held: Sequence[int] = ()) -> Child:
        """Starts the program.

        Args:
            program: What to run.
            held: File descriptors (locks) that stay open until the program has ended.

        Raises:
            EmbeddedStartFailed: The operating system could not start it.
        """
        spec = {
            "command": list(program.command),
            "cwd": str(program.directory),
            "user": program.account and program.account.user,
            "group": program.account and program.account.group,
            "stop_signal": int(program.stop_signal),
            "grace": program.grace_seconds,
            "remove": [str(path) for path in program.remove],
        }
        with program.log.open("ab") as log:
            guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), json.dumps(spec)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=dict(program.environment),
                start_new_session=True,
                pass_fds=held,
            )
        assert guard.stdout is not None
        with guard.stdout:
            said = guard.stdout.readline().decode(errors="replace").strip()
        if not said.isdigit():
            _end(guard, program.grace_seconds)
            reason = said.removeprefix("!") or last_lines(program.log)
            raise EmbeddedStartFailed(f"{program.name} cannot be started: {reason}")
        return cls(program, int(said), guard)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._guard.poll()

    def require_running(self) -> None:
        """Does nothing while it runs.

        Raises:
            EmbeddedStartFailed: It has ended; the message has the end of its log.
        """
        if self.exit_code is not None:
            raise EmbeddedStartFailed(
                f"{self.program.name} ended with exit code {self.exit_code} before it was ready;"
                f" its last lines ({self.program.log}):{last_lines(self.program.log)}"
            )

    def stop(self, *, keep: bool = False) -> None:
        """Ends it and waits for that; a no-op in a forked copy of the process that started it.

        Args:
            keep: Leave the directories of `Program.remove`.
        """
        if os.getpid() != self._owner:
            return
        _end(self._guard, self.program.grace_seconds, b"k" if keep else b"")


def _end(guard: subprocess.Popen[bytes], grace_seconds: float, order: bytes = b"") -> None:
    assert guard.stdin is not None
    with contextlib.suppress(OSError), guard.stdin:
        guard.stdin.write(order)
    try:
        guard.wait(grace_seconds + 5)
    except subprocess.TimeoutExpired:
        os.killpg(guard.pid, signal.SIGKILL)
        guard.wait()
