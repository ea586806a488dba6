"""Runs one server and ends it when the process that asked for it is gone. A script of its own, standard library only.

The guard is a single-threaded parent in a session of its own: a Ctrl-C in the terminal does not reach the server,
a SIGKILL of the asking process closes the guard's standard input, and a SIGKILL of the guard reaches the server
through the parent-death signal (Linux). It takes one argument, JSON: command, cwd, user, group, stop_signal, grace
(seconds) and remove (paths to delete once it has ended as ordered). Standard input: nothing, or `k` to keep those
paths, then end of file as the order to stop. Standard output: the server's process id, or `!` and the reason why it
could not be started. Standard error is the server's log.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Runs until the server has ended; its exit code, 128 + n for signal n."""
    spec: dict[str, Any] = json.loads(sys.argv[1])
    account = {} if spec["user"] is None else {"user": spec["user"], "group": spec["group"], "extra_groups": []}
    try:
        server = subprocess.Popen(
            spec["command"],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            cwd=spec["cwd"],
            preexec_fn=_die_with_parent(spec["stop_signal"]),  # noqa: PLW1509 - no thread runs here yet
            **account,
        )
    except OSError as error:
        _say(f"!{error}")
        return 127
    _say(str(server.pid))
    keep, ordered = threading.Event(), threading.Event()

    def stop(*_: object) -> None:
        server.send_signal(spec["stop_signal"])
        killer = threading.Timer(spec["grace"], server.kill)
        killer.daemon = True
        killer.start()

    def watch() -> None:
        while order := os.read(0, 1):
            if order == b"k":
                keep.set()
        ordered.set()
        stop()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    threading.Thread(target=watch, daemon=True).start()
    code = server.wait()
    # The log of a server that ended by itself is still to be read.
    if ordered.is_set() and not keep.is_set():
        for path in spec["remove"]:
            shutil.rmtree(path, ignore_errors=True)
    return code if code >= 0 else 128 - code


def _die_with_parent(number: int) -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    code = main()
    # Without the interpreter's own shutdown, which would wait for a reader of standard input.
    os._exit(code)
