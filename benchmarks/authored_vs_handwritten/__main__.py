"""`uv run python -m benchmarks.authored_vs_handwritten [--rounds N] [--counts 1 10 100] [--concurrent 50]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from sqlalchemy import text
from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks.authored_vs_handwritten.authored import bench_pack, sequence_of
from benchmarks.authored_vs_handwritten.handwritten import (
    CREATE_STATUS_TABLE,
    QUEUE,
    HandwrittenActivities,
    Plain,
    Recorded,
    Signalled,
)
from benchmarks.authored_vs_handwritten.variants import Run, Variants
from benchmarks.histories import time_of, told_time
from benchmarks.intervals import interval_of_median, told_interval
from benchmarks.machine import this_machine
from benchmarks.servers import ProcessorTime, Quiet, database_of, told
from workflows_cli.embedded.postgres import EmbeddedPostgres
from workflows_cli.embedded.temporal import DYNAMIC_CONFIG, EmbeddedTemporal
from workflows_cli.migrations.upgrade import upgrade
from workflows_core.actions.secrets import MappingSecrets
from workflows_core.definitions.parse import parse_definition
from workflows_core.execution.worker import WorkerLimits, authored_worker
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.ingress.loop import IngressLoop
from workflows_core.interpreter.compile import compile_plan
from workflows_core.interpreter.messages import ActionSucceeded, Begin, RunAction
from workflows_core.interpreter.state import RunIdentity
from workflows_core.interpreter.step import initial_state, step
from workflows_core.interpreter.writes import take_carried_write
from workflows_core.launching.launcher import Launcher
from workflows_core.runtime import AuthoredRuntime


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="paired rounds per count")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--concurrent", type=int, default=50, help="runs at once of the concurrent measure")
    parser.add_argument("--events", type=int, default=15, help="rounds of event-to-resume")
    parser.add_argument(
        "--server-setting",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="dynamic configuration of the dev server, such as history.transferProcessorMaxPollRPS=1000",
    )
    options = parser.parse_args()
    asyncio.run(_measure(options))


async def _measure(options: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(EmbeddedPostgres())
        config = {**DYNAMIC_CONFIG, **dict(_setting(text) for text in options.server_setting)}
        temporal = stack.enter_context(EmbeddedTemporal(dynamic_config=config))
        upgrade(postgres.url())
        variants = await _start(stack, postgres, temporal, sorted({*options.counts, 10}))
        print(f"{this_machine()}; servers in memory")
        print(f"dev server dynamic configuration: {json.dumps(config)}, everything else as shipped\n")
        for count in options.counts:
            await _paired(variants, count, max(3, options.rounds if count < 100 else options.rounds // 3))
        await _concurrent(
            variants, ProcessorTime(postgres, temporal), 10, options.concurrent, max(3, options.rounds // 3)
        )
        await _events(variants, options.events)
        print(f"\ninterpreter: {_interpreter_microseconds():.1f} us a step, with its carried write")
        print(f"peak memory of this process (workers, both kinds): {_peak_mib():.0f} MiB")


async def _start(
    stack: AsyncExitStack, postgres: EmbeddedPostgres, temporal: EmbeddedTemporal, counts: list[int]
) -> Variants:
    db = database_of(stack, postgres)
    async with db.narrow() as conn:
        await conn.execute(text(CREATE_STATUS_TABLE))
    client = await Client.connect(temporal.address, namespace=temporal.namespace)
    runtime = AuthoredRuntime.build(db, {"bench": bench_pack}, MappingSecrets({}))
    by_hand = HandwrittenActivities(db)
    await stack.enter_async_context(
        Worker(
            client,
            task_queue=QUEUE,
            workflows=[Plain, Recorded, Signalled],
            activities=[by_hand.plain, by_hand.recorded],
            max_concurrent_workflow_tasks=16,
            max_cached_workflows=500,
        )
    )
    await stack.enter_async_context(authored_worker(client, runtime.activities, WorkerLimits()))
    launcher = Launcher(db, client)
    ingress = asyncio.create_task(IngressLoop(db, launcher, JlensEngine()).run(Quiet()))
    stack.callback(ingress.cancel)
    variants = Variants(client, db, launcher, runtime.registry)
    await variants.publish(counts)
    return variants


async def _paired(variants: Variants, count: int, rounds: int) -> None:
    measured: dict[str, Callable[[int], Awaitable[Run]]] = {
        "a": variants.plain,
        "a2": variants.recorded,
        "b": variants.authored,
        "c": variants.short,
    }
    for variant in measured.values():
        await variant(count)  # warm: caches, connections
    runs: dict[str, list[Run]] = {name: [] for name in measured}
    names = list(measured)
    for number in range(rounds):
        for name in names[number % 4 :] + names[: number % 4]:
            runs[name].append(await measured[name](count))
    times = {name: [run.seconds for run in found] for name, found in runs.items()}
    _print_ratios(f"N = {count}, one run at a time, {rounds} rounds", times)
    for name, found in runs.items():
        described = await found[-1].handle.describe()
        history = await found[-1].handle.fetch_history()
        size = sum(event.ByteSize() for event in history.events)
        print(f"  {name:<3} history {described.history_length} events, {size} bytes")
        print(f"      {told_time([await time_of(variants.client, run.handle, run.seconds) for run in found])}")


async def _concurrent(variants: Variants, processors: ProcessorTime, count: int, width: int, rounds: int) -> None:
    times: dict[str, list[float]] = {"a": [], "a2": [], "b": [], "c": []}
    used: dict[str, list[dict[str, float]]] = {name: [] for name in times}
    measured = (variants.plain, variants.recorded, variants.authored, variants.short)
    for variant in measured:
        await asyncio.gather(*(variant(count) for _ in range(width)))  # warm: connections, sticky queues
    for _ in range(rounds):
        for name, variant in zip(times, measured, strict=True):
            begun, before = time.perf_counter(), processors.seconds()
            await asyncio.gather(*(variant(count) for _ in range(width)))
            times[name].append(time.perf_counter() - begun)
            used[name].append(processors.since(before, width))
    _print_ratios(f"N = {count}, {width} runs at once, {rounds} rounds", times)
    totals = {name: [sum(each.values()) / 1000 for each in found] for name, found in used.items()}
    if all(map(all, totals.values())):
        _print_ratios("  the same in processor time, for each run", totals)
    for name, found in used.items():
        medians = {party: statistics.median(each[party] for each in found) for party in found[0]}
        print(f"  {name:<3} {told(medians)}")


async def _events(variants: Variants, rounds: int) -> None:
    bare, resumed = [], []
    for _ in range(rounds):
        bare.append(await variants.bare_signal())
        resumed.append(await variants.event_to_resume())
    extra = statistics.median(r - b for r, b in zip(resumed, bare, strict=True))
    print(
        f"\nevent to resume, {rounds} rounds: bare signal {_ms(bare)}, event {_ms(resumed)}, "
        f"paired difference {extra * 1000:+.1f} ms"
    )


def _print_ratios(title: str, times: dict[str, list[float]]) -> None:
    print(title)
    print("  medians: " + "  ".join(f"{name} {_ms(found)}" for name, found in times.items()))
    for over, under in (("b", "a"), ("b", "a2"), ("c", "a"), ("c", "a2")):
        ratios = sorted(x / y for x, y in zip(times[over], times[under], strict=True))
        spread = f"{told_interval(interval_of_median(ratios))}; min {ratios[0]:.2f}, max {ratios[-1]:.2f}"
        print(f"  {over}/{under:<3} {statistics.median(ratios):.2f}  ({spread})")


def _setting(argument: str) -> tuple[str, Any]:
    name, _, value = argument.partition("=")
    return name, json.loads(value)


def _ms(times: list[float]) -> str:
    return f"{statistics.median(times) * 1000:.1f} ms"


def _interpreter_microseconds(count: int = 1000) -> float:
    plan = compile_plan(parse_definition(sequence_of("bench.work", count)), JlensEngine())
    state = initial_state(
        plan, RunIdentity("r", "t", "w", 1, "h", None), payload={}, meta={}, started_at=0,
    )  # fmt: skip
    begun = time.perf_counter()
    state, commands = step(plan, state, Begin(0))
    while commands and isinstance(commands[0], RunAction):
        state, write = take_carried_write(state, commands[0].step_path)
        state = replace(state, outbox=state.outbox.acknowledge(write["sequence"]))
        state, commands = step(plan, state, ActionSucceeded(commands[0].command_id, 0, {"number": 1}, 12, True))
    return (time.perf_counter() - begun) / count * 1e6


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 / (1024 if sys.platform == "darwin" else 1)


if __name__ == "__main__":
    main()
