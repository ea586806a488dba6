"""The directory of a stack that outlives its process: who it is, and that only one uses it at a time."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from workflows_cli.embedded.failures import EmbeddedStartFailed

_FILE = "server.json"
_LOCK = "lock"


def make_directory(path: Path) -> None:
    """Makes a directory for its owner only, unless it is there.

    Raises:
        EmbeddedStartFailed: It cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedStartFailed(f"{path} cannot be made: {error.strerror}; name another --state") from None


class StateDirectory:
    """A directory with a lock and a small JSON file that only this user can read.

    The lock is a file descriptor: handed to a child, it stays taken until that child has ended too.
    """

    def __init__(self, path: Path) -> None:
        """Creates the directory if need be.

        Raises:
            EmbeddedStartFailed: It cannot be made.
        """
        self.path = path.absolute()
        make_directory(self.path)
        self._lock: int | None = None

    def lock(self, patience: float = 15.0) -> int:
        """Takes the lock; waits for a server that is just ending.

        Args:
            patience: How long to wait for it, in seconds.

        Raises:
            EmbeddedStartFailed: Another process has it.
        """
        descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                os.close(descriptor)
                raise EmbeddedStartFailed(f"{self.path} is in use by another running stack; stop that one") from None
            self._lock = descriptor
            return descriptor

    def unlock(self) -> None:
        """Gives the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def load(self) -> dict[str, Any]:
        """What was saved; empty at first.

        Raises:
            EmbeddedStartFailed: The file is not what `save` wrote.
        """
        file = self.path / _FILE
        try:
            found = json.loads(file.read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise EmbeddedStartFailed(f"{file} is damaged; delete the directory {self.path} to begin anew")
        return found

    def save(self, values: dict[str, Any]) -> None:
        """Replaces the file, whole or not at all."""
        new = self.path / f"{_FILE}.new"
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(values, file, indent=2)
        new.replace(self.path / _FILE)
