"""Run as a program: the command line, loaded once, so that each command is a fork and not a second of imports.

It listens on the Unix socket that its argument names. A line of JSON asks for a command, its exit code is the answer.
It ends when its standard input does.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import socket
import sys
import time
from typing import Any

from service_host.early import Loading


def _run(asked: dict[str, Any]) -> None:
    """Is the command, as its console script would be."""
    for number, name, mode in (
        (0, os.devnull, os.O_RDONLY),
        (1, asked["output"], os.O_WRONLY),
        (2, asked["error"], os.O_WRONLY),
    ):
        os.dup2(os.open(name, mode | os.O_CREAT, 0o600), number)
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    sys.argv = asked["command"]
    from workflows_cli.start import main  # noqa: PLC0415 - loaded by now

    main()


def _serve(connection: socket.socket) -> None:
    with connection, connection.makefile("rw", encoding="utf-8") as stream:
        asked = json.loads(stream.readline())
        child = os.fork()
        if child == 0:
            try:
                _run(asked)
            finally:
                os._exit(1)
        stream.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")


def main() -> None:
    """Loads every command, then serves."""
    with Loading():
        from workflows_cli.main import _COMMANDS  # noqa: PLC0415 - this is what takes time

        for module in {place.partition(":")[0] for place, _ in _COMMANDS.values()}:
            importlib.import_module(f"workflows_cli.commands.{module}")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(sys.argv[1])
        listening.listen(16)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listening.accept()
            if os.fork() == 0:
                _serve(connection)
                os._exit(0)
            connection.close()
            while _reaped():
                pass


def _reaped() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


if __name__ == "__main__":
    main()
