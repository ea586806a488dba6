"""A TCP address that can be there or not, in front of a real server: how tests make an outage without stopping it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

from temporalio.client import Client

from workflows_cli.embedded import EmbeddedTemporal


class Forwarder:
    """Forwards one loopback port to a server while it is open.

    Attributes:
        port: The port, the same in every opening.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None, *, asked_for: bool = False) -> None:
        """Reserves a free port; nothing listens on it yet.

        Args:
            host: Of the server.
            port: Of the server.
            tls: With it TLS is spoken to those who come,
            asked_for: and begins only when it is asked for, as PostgreSQL's does.
        """
        self._target = (host, port)
        self._tls = tls
        self._asked_for = asked_for
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            self.port = int(reserved.getsockname()[1])
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._pumps: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    async def open(self) -> None:
        """Listen and forward from now on."""
        at_once = None if self._asked_for else self._tls
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=at_once)

    async def close(self) -> None:
        """Refuse new connections and cut those that are open."""
        if self._server is None:
            return
        self._server.close()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    def hang(self) -> None:
        """Connections stay open, new ones are accepted, and nothing is answered."""
        self._flows.clear()

    def flow(self) -> None:
        """As before `hang`: what was held back goes on its way."""
        self._flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._pumps.add(serving)
        try:
            await self._flows.wait()
            if self._asked_for and self._tls is not None:
                await _begin_tls(reader, writer, self._tls)
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pump(reader, far_writer, self._flows))
                    both.create_task(_pump(far_reader, writer, self._flows))
            finally:
                await _close(far_writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            await _close(writer)
            self._pumps.discard(serving)


async def _begin_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tls: ssl.SSLContext) -> None:
    await reader.readexactly(8)
    writer.write(b"S")
    await writer.start_tls(tls)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            await flows.wait()
            writer.write(data)
            await writer.drain()
    writer.close()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def cut_off(temporal: EmbeddedTemporal) -> AsyncIterator[Client]:
    """A client whose server has gone."""
    host, _, port = temporal.address.rpartition(":")
    between = Forwarder(host, int(port))
    await between.open()
    client = await Client.connect(between.address, namespace=temporal.namespace)
    await between.close()
    yield client
