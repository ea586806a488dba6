"""Connections that go to a checked address only.

The name is resolved once per connection, every address it has is checked, and the connection is made to
one of those very addresses: a name that answers differently a moment later (DNS rebinding) gains nothing.
The Host header and the certificate check keep the name. Nothing here reads proxy variables.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any, NoReturn

import httpcore

from workflows_core.actions.http_addresses import refusal
from workflows_core.actions.http_policy import HttpPolicy

_MAX_ADDRESSES_TRIED = 4


class AddressRefused(Exception):
    """A host or one of its addresses may not be reached; the text says which and why."""


class HostUnresolved(Exception):
    """The name service gave no address."""


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections for httpcore."""

    def __init__(self, policy: HttpPolicy) -> None:
        self._policy = policy
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connects to the first address of the host that answers; seconds for each.

        Raises:
            AddressRefused: Even when only one of several addresses is refused.
            HostUnresolved: No address.
            httpcore.ConnectError: None answers.
        """
        addresses = await self.checked_addresses(host, port)
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in addresses[:_MAX_ADDRESSES_TRIED]:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError("no address")

    async def checked_addresses(self, host: str, port: int) -> list[str]:
        """Addresses of a host, all of them allowed.

        Raises:
            AddressRefused: The host is not on the list, or one of its addresses is refused.
            HostUnresolved: No address.
        """
        if not self._policy.allows_host(host):
            raise AddressRefused(f"host {host!r} is not among the hosts that this installation allows")
        try:
            addresses = list(await self._policy.resolver.resolve(host, port))
        except (OSError, UnicodeError) as error:
            raise HostUnresolved(f"the name of host {host!r} cannot be resolved: {error}") from error
        if not addresses:
            raise HostUnresolved(f"host {host!r} has no address")
        for address in addresses:
            kind = refusal(address, self._policy.allowed_networks)
            if kind is not None:
                raise AddressRefused(
                    f"host {host!r} has the address {address}, which is {kind}; only public addresses may be "
                    "reached, and networks that the installation allows"
                )
        return addresses

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> NoReturn:
        """Refuses.

        Raises:
            AddressRefused: Always.
        """
        raise AddressRefused("a local socket may not be reached")

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await self._network.sleep(seconds)


def new_pool(policy: HttpPolicy, tls: ssl.SSLContext) -> httpcore.AsyncConnectionPool:
    """A pool for one exchange: no connection outlives it, so that none is shared between tenants."""
    return httpcore.AsyncConnectionPool(
        ssl_context=tls, max_connections=1, http1=True, http2=False, retries=0, network_backend=CheckedBackend(policy)
    )
