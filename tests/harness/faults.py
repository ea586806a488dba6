"""Kills workflow-worker at named boundaries under a steady load, and counts what every event brought about."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text
from temporalio.client import Client, WorkflowFailureError

from harness.interpreted import document, wait
from harness.run_records import TENANT, publish, rows
from harness.service_process import ServiceProcess, running
from workflows_core.errors import Refused
from workflows_core.launching.launcher import Launcher, LaunchRequest
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version, save_draft
from workflows_core.wire.names import workflow_id_of

POINTS = (
    "route:commit1:before",
    "route:commit1:after",
    "take:workflow_take_deliveries-1:before",
    "take:workflow_take_deliveries-1:after",
    "signal:signal_workflow_execution-1:before",
    "signal:signal_workflow_execution-1:after",
    "take:workflow_accept_deliveries-1:before",
    "take:workflow_accept_deliveries-1:after",
    "start:commit1:before",
    "start:commit1:after",
    "launch:commit1:before",
    "launch:commit1:after",
    "launch:start_workflow_execution-1:before",
    "launch:start_workflow_execution-1:after",
    "launch:workflow_mark_running-1:before",
    "launch:workflow_mark_running-1:after",
    "start:commit2:before",
    "start:commit2:after",
    "LoadRun:workflow_load_run-1:before",
    "LoadRun:workflow_load_run-1:after",
    "RunAction:commit1:before",
    "RunAction:commit1:after",
    "RunLastAction:commit1:before",
    "RunLastAction:commit1:after",
    "RunLastAction:workflow_complete_last_action-1:before",
    "RunLastAction:workflow_complete_last_action-1:after",
    "RevokeLastAction:commit1:before",
    "RevokeLastAction:commit1:after",
    "WriteRun:commit1:before",
    "WriteRun:commit1:after",
    "FinishRun:workflow_write_run-1:before",
    "FinishRun:workflow_write_run-1:after",
)
"""Every commit and remote call of routing, sending, starting, loading, acting, waiting and ending, from both sides."""


def increment(counter: str) -> dict[str, Any]:
    """Counts in the tenant's store; `counter` is an expression."""
    mapping = {"namespace": "faults", "key": {"$expr": counter}, "by": 1}
    return {"type": "action.call", "config": {"actionId": "store.increment", "version": 1, "inputMapping": mapping}}


def lowered(text: str, name: str) -> dict[str, Any]:
    """A short action; `text` is an expression."""
    mapping = {"text": {"$expr": text}}
    config = {"actionId": "transform.lowercase_text", "version": 1, "inputMapping": mapping, "saveAs": name}
    return {"type": "action.call", "config": config}


WAITER = {
    **document(
        # Some events are there before the run, and on a quick machine they are routed before it as well.
        wait("GO", "payload.id", lookbackMs=600_000),
        lowered("'WAITED'", "what"),
        lowered("what.text & '-' & payload.id", "counter"),
        increment("counter.text"),
        lowered("'DONE'", "done"),
    ),
    "id": "waiter",
}
STARTER = {
    **document(increment("'started-' & payload.id")),
    "id": "starter",
    "trigger": {"type": "event", "eventName": "BEGIN", "payloadMapping": {"id": {"$expr": "event.payload.id"}}},
}
PAUSER = {
    **document(
        {"type": "action.call", "config": {"actionId": "fault.pause", "version": 1, "inputMapping": {"ms": 1500}}},
        {"type": "control.return", "value": {"$expr": "'paused'"}},
    ),
    "id": "pauser",
}
"""Needs a worker of `worker_with_fault`, which has the action."""


@dataclass
class Load:
    """Publishes events for waits and triggers, and knows what has to come of them.

    With `pausing` it starts runs as well that end with an action, and cancels one of two while that is on its way.
    """

    db: Database
    client: Client
    launcher: Launcher
    pausing: bool = False
    number: int = 0
    paused: int = 0
    wanted: dict[str, str] = field(default_factory=dict)

    async def prepare(self) -> None:
        """Publishes the workflows."""
        async with self.db.tenant(TENANT) as conn:
            for content in (WAITER, STARTER, PAUSER):
                key = str(content["id"])
                await save_draft(conn, workflow_id=key, key=key, name=key, document=content)
                await publish_version(conn, key, content)

    async def batch(self, size: int = 3) -> None:
        """As many runs that wait, their events before or behind the wait, and as many events that start a run."""
        numbers = range(self.number, self.number + size)
        for number in numbers:
            self.wanted[f"waited-{number}"] = self.wanted[f"started-{number}"] = "1"
        self.number += size
        self.paused += size if self.pausing else 0
        parts = (self._waiter, self._starter, *([self._pause] if self.pausing else []))
        await asyncio.gather(*(part(number) for number in numbers for part in parts))

    async def _waiter(self, number: int) -> None:
        run_id = f"waiter-{number}"
        request = LaunchRequest(tenant=TENANT, workflow="waiter", payload={"id": str(number)}, run_id=run_id)
        if number % 2 == 0:
            await publish(self.db, f"go-{number}", str(number), event_name="GO")
            await self.launcher.launch(request)
        else:
            await self.launcher.launch(request)
            await self._within_two_seconds(lambda: self._waits(run_id))
            await publish(self.db, f"go-{number}", str(number), event_name="GO")

    async def _starter(self, number: int) -> None:
        await publish(self.db, f"begin-{number}", str(number), event_name="BEGIN", payload={"id": str(number)})

    async def _pause(self, number: int) -> None:
        run_id = f"pauser-{number}"
        await self.launcher.launch(LaunchRequest(tenant=TENANT, workflow="pauser", payload={}, run_id=run_id))
        if number % 2 and await self._within_two_seconds(lambda: self._is_under_way(run_id)):
            with suppress(Refused):
                await self.launcher.cancel(TENANT, run_id, "a test")

    async def _within_two_seconds(self, holds: Callable[[], Awaitable[bool]]) -> bool:
        """A worker that has been killed does not hold up the rest."""
        for _ in range(20):
            if await holds():
                return True
            await asyncio.sleep(0.1)
        return False

    async def _waits(self, run_id: str) -> bool:
        return any(row["run_id"] == run_id for row in await rows(self.db, "workflow_run_waits"))

    async def _is_under_way(self, run_id: str) -> bool:
        described = await self.client.get_workflow_handle(workflow_id_of(run_id)).describe()
        return bool(described.raw_description.pending_activities)

    async def ends(self) -> Counter[tuple[str, str, str]]:
        """Of the runs the workflow, the end that the row tells, and the one that Temporal tells, once it has one.

        A failure is told with its code.
        That may take the heartbeat time of an action whose worker was killed before it said that it has ended the run.
        """
        found: Counter[tuple[str, str, str]] = Counter()
        for row in await rows(self.db, "workflow_runs"):
            handle = self.client.get_workflow_handle(row["temporal_workflow_id"])
            with suppress(WorkflowFailureError):
                await handle.result()
            told = (await handle.describe()).status
            status = row["status"]
            if status == "FAILED":
                status += f" {row['error_json']['code']}"
            found[row["workflow_id"], status, "" if told is None else told.name] += 1
        return found

    async def until_done(self) -> None:
        """Waits until no run is open and no event is pending."""
        while await self._open():
            await asyncio.sleep(0.2)

    async def counted(self) -> dict[str, str]:
        """What the actions did."""
        return {row["key"]: str(row["value"]) for row in await rows(self.db, "workflow_data_store")}

    async def _open(self) -> int:
        async with self.db.tenant(TENANT) as conn:
            found = await conn.execute(
                text(
                    "SELECT (SELECT count(*) FROM workflow_runs WHERE completed_at IS NULL)"
                    " + (SELECT count(*) FROM workflow_runtime_events WHERE status = 'pending')"
                    " + (SELECT count(*) FROM workflow_event_deliveries WHERE status IN ('new', 'accepted'))"
                )
            )
            return int(found.scalar_one())


def script(directory: Path) -> Path:
    """A folder with a `workflow-worker` that can be killed at a point."""
    found = directory / "faulty" / "workflow-worker"
    announced = found.parent / "fault_actions-1.dist-info"
    announced.mkdir(parents=True, exist_ok=True)
    (announced / "METADATA").write_text("Metadata-Version: 2.1\nName: fault-actions\nVersion: 1\n")
    (announced / "entry_points.txt").write_text("[workflows.action_packs]\nfault = harness.fault_actions:actions\n")
    path = f"{Path(__file__).parents[1]}:{found.parent}"
    found.write_text(f"#!/bin/sh\nPYTHONPATH='{path}' exec {sys.executable} -m harness.faulty_worker run\n")
    found.chmod(0o755)
    return found.parent


@asynccontextmanager
async def worker_with_fault(
    environment: Mapping[str, str], directory: Path, point: str, count: int
) -> AsyncIterator[ServiceProcess]:
    """Dies at the point, the so-manieth time it comes there; it never comes to one that is called nothing."""
    fault = {"FAULT_POINT": point, "FAULT_COUNT": str(count), "WORKFLOW_ACTION_PACKS": "fault"}
    async with running("workflow-worker", {**environment, **fault}, directory, scripts=script(directory)) as worker:
        yield worker


async def kill_at(load: Load, environment: Mapping[str, str], directory: Path, point: str, count: int) -> None:
    """Gives the worker work until it has killed itself there.

    Runs that pause are there only for where they are needed: what is killed so often that it takes its time would lose
    more starts than a call may.
    """
    load.pausing = "LastAction" in point
    async with worker_with_fault(environment, directory, point, count) as worker:
        try:
            async with asyncio.timeout(60):
                while worker.process.returncode is None:
                    await load.batch()
                    await asyncio.wait([asyncio.create_task(worker.process.wait())], timeout=1.5)
        except TimeoutError:
            raise AssertionError(f"it did not come to {point} ({count})") from None
        assert worker.process.returncode == -signal.SIGKILL, worker.log.read_text("utf-8")


def load_of(db: Database, client: Client) -> Load:
    """Over a launcher of the test's own process."""
    return Load(db, client, Launcher(db, client))
