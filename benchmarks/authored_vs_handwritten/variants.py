"""The four variants behind one call: start one, await its end, say how long its history is."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import Client, WorkflowHandle

from benchmarks.authored_vs_handwritten.authored import PAYLOAD, sequence_of, waiting
from benchmarks.authored_vs_handwritten.handwritten import QUEUE, TENANT, Plain, Recorded, Signalled
from workflows_core.actions.registry import ActionRegistry
from workflows_core.launching.launcher import Launcher, LaunchRequest
from workflows_core.publishing.contracts import import_schemas
from workflows_core.publishing.publish import import_definition, publish_definition
from workflows_core.storage.database import Database
from workflows_core.storage.events import publish_event
from workflows_core.wire.names import workflow_id_of

Variant = Callable[[int], Awaitable["Run"]]


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run: seconds from the start call to the result, and its handle."""

    seconds: float
    handle: WorkflowHandle[Any, Any]


@dataclass
class Variants:
    """Starts each variant through what its users would use."""

    client: Client
    db: Database
    launcher: Launcher
    registry: ActionRegistry
    keys: dict[tuple[str, int], str] = field(default_factory=dict)

    async def publish(self, counts: list[int]) -> None:
        """Publishes the definitions that the authored variants run."""
        async with self.db.tenant(TENANT) as conn:
            await import_schemas(conn, {PAYLOAD: {"type": "object"}})
        for action in ("bench.work", "bench.short"):
            for count in counts:
                self.keys[action, count] = await self._publish(sequence_of(action, count))
        self.keys["wait", 0] = await self._publish(waiting())

    async def _publish(self, document: dict[str, Any]) -> str:
        async with self.db.tenant(TENANT) as conn:
            draft = await import_definition(conn, document)
        await publish_definition(self.db, TENANT, draft.key, self.registry, published_by="benchmark")
        return str(draft.key)

    async def plain(self, count: int) -> Run:
        """(a) hand-written activities."""
        return await self._handwritten(Plain.run, count)

    async def recorded(self, count: int) -> Run:
        """(a2) the same, each recording its status."""
        return await self._handwritten(Recorded.run, count)

    async def authored(self, count: int) -> Run:
        """(b) authored."""
        return await self._authored("bench.work", count)

    async def short(self, count: int) -> Run:
        """(c) authored, with short actions."""
        return await self._authored("bench.short", count)

    async def _handwritten(self, workflow: Any, count: int) -> Run:
        begun = time.perf_counter()
        run_id = uuid.uuid4().hex
        handle = await self.client.start_workflow(
            workflow, args=[run_id, count], id=f"bench:{run_id}", task_queue=QUEUE
        )
        await handle.result()
        return Run(time.perf_counter() - begun, handle)

    async def _authored(self, action: str, count: int) -> Run:
        begun = time.perf_counter()
        launched = await self.launcher.launch(
            LaunchRequest(tenant=TENANT, workflow=self.keys[action, count], version=1, payload={})
        )
        handle = self.client.get_workflow_handle(workflow_id_of(launched.run_id))
        await handle.result()
        return Run(time.perf_counter() - begun, handle)

    async def bare_signal(self) -> float:
        """Seconds from a bare SDK signal to the result of the workflow that waited for it."""
        handle = await self.client.start_workflow(Signalled.run, id=f"bench:{uuid.uuid4().hex}", task_queue=QUEUE)
        await self._settled(handle)
        begun = time.perf_counter()
        await handle.signal("go", 1)
        await handle.result()
        return time.perf_counter() - begun

    async def event_to_resume(self) -> float:
        """Seconds from publishing an event to the result of the authored run that waited for it."""
        key = uuid.uuid4().hex
        launched = await self.launcher.launch(
            LaunchRequest(tenant=TENANT, workflow=self.keys["wait", 0], version=1, payload={"key": key})
        )
        handle = self.client.get_workflow_handle(workflow_id_of(launched.run_id))
        await self._settled(handle)
        begun = time.perf_counter()
        async with self.db.tenant(TENANT) as conn:
            await publish_event(conn, tenant=TENANT, event_id=key, event_name="BENCH", payload={}, correlation_key=key)
        await handle.result()
        return time.perf_counter() - begun

    async def _settled(self, handle: WorkflowHandle[Any, Any]) -> None:
        """Until nothing of the run is on its way any more: its history stands still."""
        before = -1
        while True:
            length = (await handle.describe()).history_length
            if length == before and length >= 4:
                return
            before = length
            await asyncio.sleep(0.15)
