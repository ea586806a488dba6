"""What benchmarks that need both servers begin with."""

from __future__ import annotations

import os
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from service_host.postgres import create_engine
from service_host.settings import PostgresSettings
from workflows_cli.embedded.postgres import EmbeddedPostgres
from workflows_cli.embedded.temporal import EmbeddedTemporal
from workflows_core.storage.database import Database


def database_of(stack: AsyncExitStack, postgres: EmbeddedPostgres) -> Database:
    """The server's database with a pool as workflow-worker has it; disposed of with the stack."""
    settings = PostgresSettings.model_validate(
        {
            "DB_HOST": postgres.host,
            "DB_PORT": postgres.port,
            "DB_NAME_SERVER": postgres.database,
            "DB_USER_SERVER": postgres.user,
            "DB_PASSWORD_SERVER": postgres.password,
        }
    )
    engine = create_engine(settings, pool_size=20, max_overflow=0)
    stack.push_async_callback(engine.dispose)
    return Database(engine)


class Quiet:
    """Progress of an ingress loop that nobody watches."""

    def mark(self, detail: str = "") -> None:
        """Ignored."""

    def degraded(self, reason: str) -> None:
        """Shown: a benchmark with a sick ingress measures nothing."""
        print(f"ingress degraded: {reason}", file=sys.stderr)


@dataclass(frozen=True)
class ProcessorTime:
    """Who has used how much of the processors; only Linux tells."""

    postgres: EmbeddedPostgres
    temporal: EmbeddedTemporal

    def seconds(self) -> dict[str, float]:
        """Used until now, by party; empty where the system does not tell."""
        if sys.platform != "linux":
            return {}
        used = {"this process": time.process_time(), "Temporal": _used(self.temporal.pid)}
        return {**used, "PostgreSQL": _used(self.postgres.pid) + sum(map(_used, _children(self.postgres.pid)))}

    def since(self, before: dict[str, float], count: int) -> dict[str, float]:
        """Milliseconds for each of so many, by party."""
        now = self.seconds()
        return {party: (now[party] - used) / count * 1000 for party, used in before.items()}


def told(milliseconds: dict[str, float]) -> str:
    """Processor time by party, and all of it, as a text."""
    if not milliseconds:
        return "processor time is not told here"
    shown = ", ".join(f"{party} {each:.1f}" for party, each in milliseconds.items())
    return f"processor ms for each: {shown}, together {sum(milliseconds.values()):.1f}"


def _used(pid: int) -> float:
    """Seconds of a process and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
