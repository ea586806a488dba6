"""The same work as authored definitions: one with regular actions, one with short ones, one that waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.authored_vs_handwritten.handwritten import work
from workflows_core.actions.action import Action, ActionContext, Effect

PAYLOAD = "payload.Bench.v1"
"""Schema of the runs' payloads: any object."""

_NUMBER = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}


async def _work(value: Any, context: ActionContext) -> Any:
    return await work(value["number"])


def bench_pack() -> Sequence[Action]:
    """`bench.work@1` (regular) and `bench.short@1`."""
    regular = Action("bench.work", 1, _work, _NUMBER, _NUMBER, "Adds one.", effect=Effect.IDEMPOTENT)
    short = Action(
        "bench.short", 1, _work, _NUMBER, _NUMBER, "Adds one.", effect=Effect.PURE, timeout_ms=500, short=True
    )
    return (regular, short)


def sequence_of(action: str, count: int) -> dict[str, Any]:
    """A definition that calls an action `count` times, each with the result of the one before."""
    steps = [
        {
            "id": f"s{index}",
            "type": "action.call",
            "config": {
                "actionId": action,
                "version": 1,
                "inputMapping": {"number": {"$expr": "vars.out.number" if index else "0"}},
                "saveAs": "out",
            },
        }
        for index in range(count)
    ]
    return _definition(f"{action}-{count}", steps)


def waiting() -> dict[str, Any]:
    """A definition that waits for one event and ends."""
    wait = {
        "id": "wait",
        "type": "event.wait",
        "config": {"eventName": "BENCH", "correlationKey": {"$expr": "payload.key"}},
    }
    return _definition("bench-wait", [wait])


def _definition(key: str, steps: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": key, "version": 1, "name": key, "payloadSchemaRef": PAYLOAD, "steps": steps}
