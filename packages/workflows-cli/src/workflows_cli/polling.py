"""Fills the launcher's port with the live poller probe of service-host."""

from __future__ import annotations

from dataclasses import dataclass

from temporalio.client import Client

from service_host.pollers import pollers_of


@dataclass(frozen=True, slots=True)
class ClientPollerProbe:
    """Asks Temporal who polls."""

    client: Client

    async def is_polled(self, queue: str) -> bool | None:
        """True or False as Temporal says."""
        return bool((await pollers_of(self.client, queue)).pollers)
