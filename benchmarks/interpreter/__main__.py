"""What the interpreter itself costs: time per control step, and a run of many steps on Temporal.

    uv run python -m benchmarks.interpreter [--steps 5000]

The first figures drive `step` with nothing around it, each write acknowledged at once. The last one is a run on the dev
server: its time, its executions (continue-as-new), and how much the process has grown meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from temporalio.client import Client  # noqa: E402

from benchmarks.histories import time_of, told_time  # noqa: E402
from benchmarks.machine import this_machine  # noqa: E402
from harness.authored import authored_runtime  # noqa: E402 - tests share it, and are no package
from harness.databases import DatabaseFactory, engine_of  # noqa: E402
from harness.interpreted import document  # noqa: E402
from workflows_cli.embedded import EmbeddedPostgres, EmbeddedTemporal  # noqa: E402
from workflows_core.definitions.parse import parse_definition  # noqa: E402
from workflows_core.execution.budget import MAX_STEPS_AT_ONCE  # noqa: E402
from workflows_core.expressions.jlens_engine import JlensEngine  # noqa: E402
from workflows_core.interpreter.compile import compile_plan  # noqa: E402
from workflows_core.interpreter.messages import Begin  # noqa: E402
from workflows_core.interpreter.state import RunIdentity, State  # noqa: E402
from workflows_core.interpreter.step import initial_state, step  # noqa: E402
from workflows_core.interpreter.writes import take_write  # noqa: E402
from workflows_core.storage.database import Database  # noqa: E402

REPEATS = 15


def _step(kind: str, index: int) -> dict[str, Any]:
    match kind:
        case "state.set":
            return {"id": f"s{index}", "type": kind, "config": {"state": "S"}}
        case "control.if":
            return {"id": f"s{index}", "type": kind, "condition": {"$expr": "payload.n > 1"}, "then": []}
    return {"id": f"s{index}", "type": kind, "config": {"assign": {"vars.n": {"$expr": "payload.n + 1"}}}}


def _loop(steps: int, kind: str) -> dict[str, Any]:
    """`while` around one step: a pass is two things, the loop's and the step's."""
    count = {"assign": {"vars.i": {"$expr": "coalesce(vars.i, 0) + 1"}}}
    body = [{"id": "i", "type": "transform.assign", "config": count}]
    condition = {"$expr": f"coalesce(vars.i, 0) < {steps}"}
    return {"type": kind, "condition": condition, "maxIterations": steps, "body": body}


def told_steps(steps: list[dict[str, Any]], count: int) -> str:
    """Median and shortest time per step, of the whole definition: the shortest is what a machine takes in peace."""
    plan = compile_plan(parse_definition(document(*steps)), JlensEngine())
    identity = RunIdentity("run", "tenant", "wf", 1, "hash", None)
    found = []
    for _ in range(REPEATS):
        state: State = initial_state(plan, identity, payload={"n": 4}, meta={}, started_at=0)
        begun = time.perf_counter()
        while state.outcome is None:
            state, _ = step(plan, state, Begin(1), max_steps=MAX_STEPS_AT_ONCE)
            if state.outcome is None:
                state, write = take_write(state, 1)
                state = replace(state, outbox=state.outbox.acknowledge(write["sequence"]))
        found.append((time.perf_counter() - begun) / count * 1e6)
    return f"{statistics.median(found):8.1f} µs a step (fastest {min(found):.1f})"


async def on_temporal(steps: int) -> str:
    """Seconds, executions, growth of the process in MiB, and where the time went."""
    with EmbeddedPostgres() as postgres, EmbeddedTemporal() as temporal, DatabaseFactory(postgres).fresh() as made:
        client = await Client.connect(temporal.address, namespace=temporal.namespace)
        async with engine_of(made.url) as engine, authored_runtime(Database(engine), client) as authored:
            warm = await authored.start(document(_loop(50, "control.while")))
            await warm.handle.result()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            begun = time.perf_counter()
            run = await authored.start(document(_loop(steps // 2, "control.while")))
            await run.handle.result()
            seconds = time.perf_counter() - begun
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            executions = (await run.timeline()).run.generation + 1
            went = told_time([await time_of(client, run.handle, seconds)])
    return f"{seconds:.1f} s, {executions} executions, {grown:.1f} MiB more at the peak\n  {went}"


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5_000)
    steps: int = parser.parse_args().steps
    print(this_machine())
    for kind in ("state.set", "transform.assign", "control.if"):
        print(f"{kind:<18}{told_steps([_step(kind, n) for n in range(steps)], steps)}, {steps} in a row")
    print(f"{'control.while':<18}{told_steps([_loop(steps // 2, 'control.while')], steps)}, or a pass")
    print(f"{steps} steps and passes on Temporal: {asyncio.run(on_temporal(steps))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
