"""What the embedded servers have in common: a child process, its ports, and a directory that is kept or forgotten."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from workflows_cli.embedded.child import Child, Program
from workflows_cli.embedded.failures import EmbeddedStartFailed, says
from workflows_cli.embedded.loopback import PORT_TRIES
from workflows_cli.embedded.state import StateDirectory


class EmbeddedServer(ABC):
    """One server on loopback; it ends with `close`, or with this process."""

    _port_taken: ClassVar[str]
    """What its log says of a port that somebody else has."""

    def __init__(self, directory: Path | None) -> None:
        self._state = StateDirectory(directory) if directory else None
        self._child: Child | None = None
        self._base: Path | None = None

    def start(self) -> Self:
        """Starts the server and waits until it answers as the one that was started, with what was made for it.

        Raises:
            EmbeddedStartFailed: It is not installed, its directory is in use, or it ended early.
        """
        if self._child is not None:
            raise EmbeddedStartFailed("this server has been started already")
        held = [self._state.lock()] if self._state else []
        try:
            self._prepare()
            self._child = self._started(held)
            self._complete()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Ends the server; what has no directory of the caller's is forgotten."""
        if self._child is not None:
            self._child.stop()
            self._child = None
        if self._state:
            self._state.unlock()
        elif self._base is not None:
            shutil.rmtree(self._base, ignore_errors=True)
            self._base = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        return self._running.pid

    @property
    def exit_code(self) -> int | None:
        """None while the server runs."""
        return self._running.exit_code

    @property
    @abstractmethod
    def log(self) -> Path:
        """The server's log."""

    @property
    def _running(self) -> Child:
        if self._child is None:
            raise EmbeddedStartFailed("this server has not been started")
        return self._child

    @property
    def _directory(self) -> Path:
        assert self._base is not None
        return self._base

    def _started(self, held: list[int]) -> Child:
        for attempt in range(PORT_TRIES):
            self._take_ports(preferred=attempt == 0)
            child = Child.start(self._program(), held)
            try:
                self._wait_until_ready(child)
            except EmbeddedStartFailed:
                child.stop(keep=True)
                if not says(self.log, self._port_taken) or attempt == PORT_TRIES - 1:
                    raise
            except BaseException:
                child.stop(keep=True)
                raise
            else:
                if self._state:
                    self._save(self._state)
                return child
        raise AssertionError("the last attempt returns or raises")

    @abstractmethod
    def _prepare(self) -> None:
        """Settles the directory and the names, and saves them."""

    @abstractmethod
    def _save(self, state: StateDirectory) -> None:
        """Keeps names and ports for the next start in this directory."""

    @abstractmethod
    def _take_ports(self, *, preferred: bool) -> None:
        """Chooses free ports: those that are preferred, as far as they are free, or any."""

    @abstractmethod
    def _program(self) -> Program:
        """What is to be started."""

    @abstractmethod
    def _wait_until_ready(self, child: Child) -> None:
        """Waits until the server answers, and as the one that was started."""

    def _complete(self) -> None:  # noqa: B027 - a server may have nothing of it
        """What is still to be done once it answers."""
