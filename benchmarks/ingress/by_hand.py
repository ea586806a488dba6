"""The floor beside which the latency of ingress stands: the same run written by hand, and signalled without an event.

It waits, takes a signal, writes one row in an activity, and ends: as many workflow tasks and activities as an authored
run that waits for one event. No stream, no routing, no look-back, nothing that outlives a crash between the two.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from sqlalchemy import text

    from workflows_core.storage.database import Database

QUEUE = "bench-by-hand"
CREATE_TABLE = "CREATE TABLE IF NOT EXISTS bench_resumed (run_id text PRIMARY KEY, delay_ms double precision NOT NULL)"
_RECORD = text("INSERT INTO bench_resumed VALUES (:run_id, :delay_ms) ON CONFLICT DO NOTHING")


@workflow.defn(name="BenchWaits")
class Waits:
    """Waits for one signal, which says when it was sent."""

    def __init__(self) -> None:
        self.sent_ms: float | None = None

    @workflow.run
    async def run(self) -> float:
        """Milliseconds from sending the signal to the workflow task that takes it."""
        await workflow.wait_condition(lambda: self.sent_ms is not None)
        delay = workflow.time() * 1000 - (self.sent_ms or 0.0)
        await workflow.execute_activity("benchResumed", delay, start_to_close_timeout=timedelta(seconds=30))
        return delay

    @workflow.signal(name="go")
    def go(self, sent_ms: float) -> None:
        """The signal."""
        self.sent_ms = sent_ms


@dataclass
class Recorder:
    """The one activity."""

    db: Database
    delays: list[float] = field(default_factory=list)

    @activity.defn(name="benchResumed")
    async def resumed(self, delay_ms: float) -> None:
        """Writes the row."""
        async with self.db.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
            await conn.execute(_RECORD, {"run_id": activity.info().workflow_id, "delay_ms": delay_ms})
        self.delays.append(delay_ms)


async def delays(db: Database, client: Client, runs: int, rate: int, width: int = 16) -> Sequence[float]:
    """Milliseconds from each signal to the task that took it, `rate` signals a second."""
    async with db.narrow() as conn:
        await conn.execute(text(CREATE_TABLE))
    recorder = Recorder(db)
    async with Worker(
        client, task_queue=QUEUE, workflows=[Waits], activities=[recorder.resumed], max_cached_workflows=2 * runs
    ):
        room = asyncio.Semaphore(width)

        async def begin() -> str:
            async with room:
                run_id = f"by-hand:{uuid.uuid4().hex}"
                await client.start_workflow(Waits.run, id=run_id, task_queue=QUEUE)
                return run_id

        started = await asyncio.gather(*(begin() for _ in range(runs)))
        await asyncio.sleep(3)  # until the first task of each is done
        begun = time.perf_counter()
        sending = []
        for number, run_id in enumerate(started):
            await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
            handle = client.get_workflow_handle(run_id)
            sending.append(asyncio.create_task(handle.signal("go", time.time() * 1000)))
        await asyncio.gather(*sending)
        async with asyncio.timeout(600):
            while len(recorder.delays) < runs:  # noqa: ASYNC110 - activities add to it
                await asyncio.sleep(0.2)
    return sorted(recorder.delays)
