"""Ingress: the loop beside a block, or routing alone until nothing is due."""

from __future__ import annotations

import asyncio

from temporalio.client import Client

from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.ingress.loop import IngressLoop
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.ingress.router import route_pending
from workflows_core.launching.launcher import Launcher
from workflows_core.storage.database import Database


class ingress:  # noqa: N801 - read as a block
    """The ingress loop, beside the block."""

    def __init__(self, db: Database, client: Client) -> None:
        self.loop = IngressLoop(db, Launcher(db, client), JlensEngine())

    def mark(self, detail: str = "") -> None:
        """Nobody looks at its progress."""

    def degraded(self, reason: str) -> None:
        """No test lets it come to that."""
        raise AssertionError(reason)

    async def __aenter__(self) -> None:
        self.task = asyncio.create_task(self.loop.run(self))

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def route(db: Database, policy: IngressPolicy | None = None) -> None:
    """Routes every event that is due."""
    while await route_pending(db, policy or IngressPolicy()):
        pass
