"""`uv run python -m benchmarks.ingress`: how fast events are stored, routed and delivered, and how soon a run goes on.

Servers from wheels, one ingress loop and one worker of the authored queue in this process. Bounded: it stops by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from sqlalchemy import text
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from benchmarks.ingress.by_hand import delays
from benchmarks.machine import this_machine
from benchmarks.servers import ProcessorTime, Quiet, database_of, told
from workflows_cli.embedded.postgres import EmbeddedPostgres
from workflows_cli.embedded.temporal import EmbeddedTemporal
from workflows_cli.migrations.upgrade import upgrade
from workflows_core.actions.secrets import MappingSecrets
from workflows_core.execution.worker import WorkerLimits, authored_worker
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.ingress.loop import IngressLoop
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.launching.launcher import Launcher, LaunchRequest
from workflows_core.runtime import AuthoredRuntime
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version, save_draft
from workflows_core.storage.events import publish_event

TENANT = "bench"
LIMITS = WorkerLimits(grace_seconds=1, cached_runs=2000)
PUBLISHERS = 8
EVENTS_TO_A_RUN = 4
"""Of so many events one resumes a run, where most are of no workflow's concern."""
WAIT = {
    "id": "w",
    "type": "event.wait",
    "config": {"eventName": "BENCH", "correlationKey": {"$expr": "payload.key"}},
}


@dataclass(frozen=True)
class Bench:
    """What is measured with."""

    db: Database
    client: Client
    launcher: Launcher
    runtime: AuthoredRuntime
    processors: ProcessorTime

    async def publish(self, key: str, name: str = "BENCH") -> None:
        """One event in a transaction of its own."""
        async with self.db.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
            await publish_event(
                conn, tenant=TENANT, event_id=str(uuid.uuid4()), event_name=name, payload={"n": 1}, correlation_key=key
            )

    async def count(self, query: str) -> int:
        """A number from the tenant's rows."""
        async with self.db.tenant(TENANT) as conn:
            return int((await conn.execute(text(query))).scalar_one())

    async def until(self, query: str, wanted: int, seconds: float = 600) -> float:
        """Seconds until a count is reached."""
        begun = time.perf_counter()
        async with asyncio.timeout(seconds):
            while await self.count(query) < wanted:  # noqa: ASYNC110 - other processes change it
                await asyncio.sleep(0.2)
        return time.perf_counter() - begun

    async def waiting(self, keys: Sequence[str]) -> None:
        """Runs that wait, one for each key."""
        before = await self.count(_OPEN)
        await _at_once(
            [
                lambda key=key: self.launcher.launch(  # type: ignore[misc]
                    LaunchRequest(tenant=TENANT, workflow="waits", payload={"key": key}, run_id=f"run-{key}")
                )
                for key in keys
            ],
            16,
        )
        await self.until(_OPEN, before + len(keys))


_OPEN = "SELECT count(*) FROM workflow_run_waits WHERE status = 'WAITING'"
_ACCEPTED = "SELECT count(*) FROM workflow_event_deliveries WHERE status = 'accepted'"
_CONSUMED = "SELECT count(*) FROM workflow_event_deliveries WHERE status = 'consumed'"
_LATENCIES = """
SELECT extract(epoch FROM w.resolved_at - e.created_at) * 1000 FROM workflow_run_waits w
  JOIN workflow_runtime_events e ON e.tenant = w.tenant AND e.event_id = w.matched_event_id
 WHERE w.run_id LIKE :runs
"""


async def _at_once(work: Sequence[Callable[[], Awaitable[object]]], width: int) -> None:
    """Runs all, so many side by side."""
    waiting = list(reversed(work))

    async def worker() -> None:
        while waiting:
            await waiting.pop()()

    await asyncio.gather(*(worker() for _ in range(width)))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="waiting runs")
    rates = [50, 75, 100]
    parser.add_argument("--rate", type=int, nargs="+", default=rates, help="events a second of the latency measure")
    parser.add_argument("--stored", type=int, default=5000, help="events of the publishing measure")
    parser.add_argument("--backlog", type=int, default=50_000, help="events that wait when ingress begins")
    parser.add_argument("--rounds", type=int, default=30, help="pairs of bare signal and event")
    asyncio.run(_measure(parser.parse_args()))


async def _measure(options: argparse.Namespace) -> None:
    print(f"{this_machine()}; servers in memory\n")
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(EmbeddedPostgres())
        temporal = stack.enter_context(EmbeddedTemporal())
        upgrade(postgres.url())
        bench = await _start(stack, postgres, temporal)
        await _persisted(bench, options.stored)
        await _drained(bench, options.backlog)
        loop = asyncio.create_task(IngressLoop(bench.db, bench.launcher, JlensEngine()).run(Quiet()))
        try:
            async with authored_worker(bench.client, bench.runtime.activities, LIMITS):
                await _paired(bench, options.rounds)
                for rate in options.rate:
                    await _latency(bench, options.runs, rate)
                    by_hand = await delays(bench.db, bench.client, options.runs, rate)
                    print(f"  the same by hand, a bare signal and no event: {_percentiles(by_hand)}")
                resumed = round(options.rate[-1] / EVENTS_TO_A_RUN)
                await _latency(bench, options.runs, resumed, others=EVENTS_TO_A_RUN - 1)
                await _delivered(bench, options.runs)
                await bench.waiting([f"sent-{number}" for number in range(options.runs)])
            await _sent(bench, options.runs)
        finally:
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)


async def _start(stack: AsyncExitStack, postgres: EmbeddedPostgres, temporal: EmbeddedTemporal) -> Bench:
    db = database_of(stack, postgres)
    client = await Client.connect(temporal.address, namespace=temporal.namespace)
    runtime = AuthoredRuntime.build(db, {}, MappingSecrets({}))
    content = {"id": "waits", "version": 1, "name": "waits", "payloadSchemaRef": "payload.Bench.v1", "steps": [WAIT]}
    async with db.tenant(TENANT) as conn:
        await save_draft(conn, workflow_id="waits", key="waits", name="waits", document=content)
        await publish_version(conn, "waits", content)
    return Bench(db, client, Launcher(db, client), runtime, ProcessorTime(postgres, temporal))


async def _persisted(bench: Bench, count: int) -> None:
    begun = time.perf_counter()
    await _at_once([lambda: bench.publish("nobody", "STORED")] * count, PUBLISHERS)
    seconds = time.perf_counter() - begun
    print(f"persisted: {count / seconds:.0f} events/s ({count} events, one transaction each, {PUBLISHERS} publishers)")


async def _drained(bench: Bench, backlog: int) -> None:
    async with bench.db.tenant(TENANT) as conn:
        await conn.execute(
            text(
                "SELECT count(workflow_publish_event(current_setting('workflows.tenant'), 'b' || n, 'BACKLOG', '{}',"
                " 'nobody')) FROM generate_series(1, :count) AS n"
            ),
            {"count": backlog},
        )
    waiting = await bench.count("SELECT count(*) FROM workflow_runtime_events WHERE status = 'pending'")
    ingress = IngressLoop(bench.db, bench.launcher, JlensEngine(), IngressPolicy(batch_size=50))
    begun = time.perf_counter()
    while await ingress.route():
        pass
    seconds = time.perf_counter() - begun
    print(f"backlog: {waiting} events routed in {seconds:.1f} s, {waiting / seconds:.0f} events/s")


async def _latency(bench: Bench, runs: int, rate: int, others: int = 0) -> None:
    """Resumes so many runs a second; each event comes with so many others that nobody waits for."""
    prefix = f"latency-{rate}-{others}"
    await bench.waiting([f"{prefix}-{number}" for number in range(runs)])
    before = await bench.count(_CONSUMED)
    begun = time.perf_counter()
    tasks = []
    for number in range(runs):
        await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(bench.publish(f"{prefix}-{number}")))
        tasks += [asyncio.create_task(bench.publish("nobody")) for _ in range(others)]
    await asyncio.gather(*tasks)
    sent = time.perf_counter() - begun
    await bench.until(_CONSUMED, before + runs)
    async with bench.db.tenant(TENANT) as conn:
        found = sorted(float(row[0]) for row in await conn.execute(text(_LATENCIES), {"runs": f"run-{prefix}-%"}))
    which = f", one in {others + 1} resumes a run" if others else ""
    events = runs * (others + 1) / sent
    print(f"commit to resume at {events:.0f} events/s with {runs} waiting runs{which}: {_percentiles(found)}")


def _percentiles(found: Sequence[float]) -> str:
    return ", ".join(f"p{part} {found[int(len(found) * part / 100) - 1]:.0f} ms" for part in (50, 95, 99))


async def _delivered(bench: Bench, runs: int) -> None:
    await bench.waiting([f"burst-{number}" for number in range(runs)])
    before, used = await bench.count(_CONSUMED), bench.processors.seconds()
    begun = time.perf_counter()
    await _at_once([lambda key=f"burst-{number}": bench.publish(key) for number in range(runs)], PUBLISHERS)  # type: ignore[misc]
    await bench.until(_CONSUMED, before + runs)
    print(f"delivered: {runs / (time.perf_counter() - begun):.0f} matched deliveries/s, each run resumed and ended")
    print(f"  {told(bench.processors.since(used, runs))}")


async def _sent(bench: Bench, runs: int) -> None:
    """With no worker of the queue alive, so that the runs themselves cost nothing."""
    before, used = await bench.count(_ACCEPTED), bench.processors.seconds()
    begun = time.perf_counter()
    await _at_once([lambda key=f"sent-{number}": bench.publish(key) for number in range(runs)], PUBLISHERS)  # type: ignore[misc]
    await bench.until(_ACCEPTED, before + runs)
    seconds = time.perf_counter() - begun
    print(f"sent: {runs / seconds:.0f} matched deliveries/s routed and signalled, no run executing")
    print(f"  {told(bench.processors.since(used, runs))}")


async def _paired(bench: Bench, rounds: int) -> None:
    """By Temporal's own times: from before the call to the end of the workflow task that took the signal."""
    differences, bare, events = [], [], []
    for number in range(rounds):
        keys = [f"bare-{number}", f"event-{number}"]
        await bench.waiting(keys)
        begun = time.time()
        handle = bench.client.get_workflow_handle(f"workflow-runtime-v2:run:run-{keys[0]}")
        body = {"eventId": str(uuid.uuid4()), "eventName": "BENCH", "correlationKey": keys[0], "payload": {}}
        await handle.signal("workflowRuntimeV2Event", body)
        await handle.result()
        middle = time.time()
        await bench.publish(keys[1])
        await bench.client.get_workflow_handle(f"workflow-runtime-v2:run:run-{keys[1]}").result()
        bare.append((await _resumed_at(bench, keys[0]) - begun) * 1000)
        events.append((await _resumed_at(bench, keys[1]) - middle) * 1000)
        differences.append(events[-1] - bare[-1])
    print(
        f"to the end of the workflow task that takes it, {rounds} pairs: bare signal {statistics.median(bare):.1f} ms, "
        f"event {statistics.median(events):.1f} ms, difference {statistics.median(differences):+.1f} ms"
    )


async def _resumed_at(bench: Bench, key: str) -> float:
    history = await bench.client.get_workflow_handle(f"workflow-runtime-v2:run:run-{key}").fetch_history()
    signalled = False
    for event in history.events:
        signalled = signalled or event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
        if signalled and event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            return event.event_time.ToNanoseconds() / 1e9
    raise RuntimeError(f"run {key} was not resumed by a signal")


if __name__ == "__main__":
    main()
