"""What authored HTTP requests may do on an installation."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from workflows_core.actions.http_addresses import IpNetwork, parse_networks
from workflows_core.actions.http_lookups import Lookups
from workflows_core.errors import Problem, Refused

_HOST_PATTERN = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|[0-9a-f:.]+")


class Resolver(Protocol):
    """Finds the addresses of a host."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Addresses in order of preference, as texts.

        Raises:
            OSError: The host is not known, or the name service does not answer.
            UnicodeError: The name is none.
        """
        ...


class SystemResolver:
    """The operating system's name service, asked by threads that do nothing else.

    Args:
        lookups: Those threads; its own by default, and a process has one policy and so one resolver.
    """

    def __init__(self, lookups: Lookups | None = None) -> None:
        self._lookups = lookups or Lookups()

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """See `Resolver`."""
        return await self._lookups.addresses(host, port)


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """Bounds of `http.request`. The default reaches every public address, and nothing else.

    Attributes:
        allowed_hosts: Lower-case host names, `*.example.org` for every host below one; None allows all.
            Such a host's addresses are checked like any other's.
        allowed_networks: Networks that may be reached although they are not public, such as the
            installation's own services.
        max_request_bytes: Size of a request's body.
        max_response_bytes: Size of an answer's body, unpacked; what arrives packed may be about twice as much.
        max_timeout_ms: Limit of `timeoutMs`, which covers the whole exchange with its redirects.
        max_redirects: How many are followed.
        resolver: Names to addresses; each connection asks once, and connects to what was checked.
        tls: Trusted authorities and client certificate; None for the usual public authorities.
    """

    allowed_hosts: tuple[str, ...] | None = None
    allowed_networks: tuple[IpNetwork, ...] = ()
    max_request_bytes: int = 1024 * 1024
    max_response_bytes: int = 256 * 1024
    max_timeout_ms: int = 120_000
    max_redirects: int = 5
    resolver: Resolver = field(default_factory=SystemResolver, compare=False)
    tls: ssl.SSLContext | None = field(default=None, compare=False)

    @classmethod
    def parse(cls, allowed_hosts: Sequence[str] | None = None, allowed_networks: Sequence[str] = ()) -> HttpPolicy:
        """From a service's settings.

        Raises:
            Refused: `HTTP_POLICY_INVALID`, every entry that is wrong.
        """
        problems: list[Problem] = []
        hosts = None if allowed_hosts is None else tuple(host.strip().rstrip(".").lower() for host in allowed_hosts)
        for index, host in enumerate(hosts or ()):
            if not _HOST_PATTERN.fullmatch(host):
                message = f"{host!r} is no host name; write example.org, *.example.org or an address, without a port"
                problems.append(Problem("HTTP_POLICY_INVALID", message, f"allowed_hosts[{index}]"))
        networks: list[IpNetwork] = []
        for index, text in enumerate(allowed_networks):
            try:
                networks.extend(parse_networks([text]))
            except ValueError as error:
                message = f"{error}; write a network such as 10.1.0.0/16"
                problems.append(Problem("HTTP_POLICY_INVALID", message, f"allowed_networks[{index}]"))
        if problems:
            raise Refused(problems)
        return cls(allowed_hosts=hosts, allowed_networks=tuple(networks))

    def allows_host(self, host: str) -> bool:
        """Whether the list of hosts lets a request go to one."""
        if self.allowed_hosts is None:
            return True
        name = host.rstrip(".").lower()
        return any(
            name.endswith(known[1:]) and name != known[1:] if known.startswith("*.") else name == known
            for known in self.allowed_hosts
        )
