"""Records the histories that every later build must replay: `uv run python -m replay.record` in tests/.

Run it when a scenario is added. A recorded history is never replaced: that would hide a change that
runs in flight cannot take; give the scenario a new name instead.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHistory

from harness.authored import Authored, Started, authored_runtime
from harness.databases import DatabaseFactory, engine_of
from harness.interpreted import document, wait
from workflows_cli.embedded import EmbeddedPostgres, EmbeddedTemporal
from workflows_core.execution.policy import RunPolicy
from workflows_core.storage.database import Database
from workflows_core.wire import names

HISTORIES = Path(__file__).parents[2] / "contracts" / "histories"
Scenario = Callable[[Authored], Awaitable[Started]]


def act(name: str, action: str = "test.act", **fields: Any) -> dict[str, Any]:
    """An `action.call` of the test pack."""
    config = {"actionId": action, "version": 1, "inputMapping": {"name": name}, "saveAs": name}
    return {"type": "action.call", "config": config, **fields}


async def actions_and_retry(authored: Authored) -> Started:
    """Regular actions, one retried, one that fails and is passed over."""
    authored.effects.failures["two"] = ["TransientError"]
    authored.effects.failures["three"] = ["ActionError"]
    return await authored.start(
        document(
            {"type": "transform.assign", "config": {"assign": {"vars.n": {"$expr": "payload.n * 2"}}}},
            act("one"),
            act("two", retry={"maxAttempts": 2, "backoffMs": 1}),
            act("three", onError={"policy": "continue"}),
            {"type": "control.if", "condition": {"$expr": "vars.n = 8"}, "then": [{"id": "t", **act("four")}]},
        ),
        {"n": 4},
    )


async def short_actions(authored: Authored) -> Started:
    """More short actions than one workflow task takes."""
    return await authored.start(document(*(act(f"s{n}", "test.short") for n in range(25))))


async def waits(authored: Authored) -> Started:
    """An event that came early, one that resolves a wait, a time-out, a short timer."""
    started = await authored.start(
        document(
            act("one"),
            wait("EARLY", "payload.id"),
            wait("PAID", "payload.id", timeoutMs=60_000),
            {**wait("NEVER", "payload.id", timeoutMs=1_200), "onError": {"policy": "continue"}},
            {"type": "time.wait", "config": {"mode": "duration", "durationMs": 50}},
            act("two"),
        ),
        {"id": "k1"},
    )
    for name in ("EARLY", "PAID"):
        body = {"eventId": name, "eventName": name, "correlationKey": "k1", "payload": {"n": 1}}
        await started.handle.signal(names.SIGNAL_EVENT, body)
    return started


async def cancelled(authored: Authored) -> Started:
    """A run that waits and is cancelled."""
    started = await authored.start(document(act("one"), wait("PAID", "payload.id")), {"id": "k1"})
    await started.until("WAITING")
    await started.handle.cancel()
    return started


async def bare_client(authored: Authored) -> Started:
    """A run without a row."""
    return await authored.start(document(act("one"), {"type": "control.return"}), row=False)


SCENARIOS: Mapping[str, Scenario] = {
    "actions_and_retry": actions_and_retry,
    "bare_client": bare_client,
    "cancelled": cancelled,
    "short_actions": short_actions,
    "waits": waits,
}


async def record(db: Database, client: Client, name: str) -> WorkflowHistory:
    """Runs a scenario to its end and gives its history."""
    async with authored_runtime(db, client, policy=RunPolicy()) as authored:
        started = await SCENARIOS[name](authored)
        await asyncio.gather(started.handle.result(), return_exceptions=True)
        return await started.handle.fetch_history()


def without_machine(history: WorkflowHistory) -> str:
    """The history as JSON, without names and paths of the machine that made it."""
    text = json.dumps(json.loads(history.to_json()), indent=1)
    text = re.sub(r'"\d+@[^"]+"', '"worker@recorded"', text)
    return re.sub(r'"stackTrace": "(?:[^"\\]|\\.)*"', '"stackTrace": ""', text) + "\n"


async def _main() -> None:
    with EmbeddedPostgres() as postgres, EmbeddedTemporal() as temporal, DatabaseFactory(postgres).fresh() as made:
        client = await Client.connect(temporal.address, namespace=temporal.namespace)
        async with engine_of(made.url) as engine:
            for name in SCENARIOS:
                target = HISTORIES / f"{name}.json"
                if not target.exists():
                    target.write_text(without_machine(await record(Database(engine), client, name)))
                    print(f"recorded {target}")  # noqa: T201 - a command that people run


if __name__ == "__main__":
    asyncio.run(_main())
