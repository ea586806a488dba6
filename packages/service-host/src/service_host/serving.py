"""HTTP served from the process itself: a port taken before anything else starts, and a loop that serves on it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import uvicorn

from service_host.errors import StartRefused, together
from service_host.progress import Loop, Progress, RestartBudget, StopStage
from service_host.settings import ListenAddress

_STOP_SECONDS: Final = 3.0


def bind(address: ListenAddress) -> socket.socket:
    """Take a port; 0 takes a free one.

    Raises:
        StartRefused: Code PORT_NOT_AVAILABLE.
    """
    host, port, host_variable, port_variable = address
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = str(error.strerror or error).partition(" (while")[0]  # What follows says the address again.
        message = (
            f"cannot listen on {host}:{port}: {reason}; set {port_variable} (0 takes a free one) or {host_variable}"
        )
        raise StartRefused.one("PORT_NOT_AVAILABLE", port_variable, message) from None
    listener.setblocking(False)
    return listener


def check_free(addresses: Sequence[ListenAddress]) -> None:
    """Looks whether each port could be taken now.

    Raises:
        StartRefused: Code PORT_NOT_AVAILABLE, every one that could not.
    """
    together(*(lambda address=address: bind(address).close() for address in addresses))


def url_of(listener: socket.socket) -> str:
    """Base URL of a bound listener."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serving_loop(
    name: str,
    application: Any,
    listener: socket.socket,
    *,
    stage: StopStage,
    on_serving: Callable[[str], None],
    stop_seconds: float = _STOP_SECONDS,
) -> Loop:
    """An ASGI application as a loop.

    Args:
        name: Of the loop.
        application: The ASGI application.
        listener: A bound listener; its owner closes it, and the loop does when it is told to stop.
        stage: When it stops.
        on_serving: Told the base URL each time serving begins.
        stop_seconds: How long requests in flight may take when it stops.
    """

    async def run(progress: Progress) -> None:
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=max(1, round(stop_seconds) - 2),
        )
        server = _Server(config)
        # A duplicate, since the server closes what it was given and a later life needs the port again.
        serving = asyncio.ensure_future(server.serve(sockets=[listener.dup()]))
        on_serving(url_of(listener))
        progress.mark()
        stopping = asyncio.ensure_future(progress.stopping.wait())
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if progress.stopping.is_set():
                # Else the kernel goes on accepting callers whom nobody answers, for as long as the process drains.
                listener.close()
            server.should_exit = True
            await serving
        finally:
            stopping.cancel()
            serving.cancel()

    return Loop(name, run, stage=stage, restarts=RestartBudget(restarts=3), stop_within=stop_seconds)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the supervisor."""
        yield
