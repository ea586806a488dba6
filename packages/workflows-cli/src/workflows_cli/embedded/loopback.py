"""Ports on 127.0.0.1, and an environment without what would lead traffic elsewhere."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence

LOOPBACK = "127.0.0.1"
PORT_TRIES = 3
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "ftp_proxy", "no_proxy"})


def free_ports(preferred: Sequence[int | None]) -> list[int]:
    """A free port for each entry, all different: the preferred one where it is free, else any.

    Another process may take one before its server does, so a server's early end is followed by another try.
    """
    with contextlib.ExitStack() as held:
        return [held.enter_context(_bound(port)).getsockname()[1] for port in preferred]


def _bound(preferred: int | None) -> socket.socket:
    for port in (preferred, 0) if preferred else (0,):
        candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((LOOPBACK, port or 0))
        except OSError:
            candidate.close()
            if not port:
                raise
        else:
            return candidate
    raise AssertionError("port 0 binds or raises")


def child_environment(**settings: str) -> dict[str, str]:
    """This process's environment for a server: no proxies, nothing of Temporal's or PostgreSQL's, plus `settings`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.lower() not in _PROXIES and not name.startswith(("TEMPORAL_", "PG"))
    }
    return {**kept, **settings}
