"""An action for runs whose worker is killed: its effect is none, so it may run again, and it takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from workflows_core.actions.action import Action, Effect


async def _pause(value: Any, _: Any) -> Any:
    await asyncio.sleep(value["ms"] / 1000)
    return {"ms": value["ms"]}


def actions() -> Sequence[Action]:
    """`fault.pause@1`."""
    schema = {"type": "object", "properties": {"ms": {"type": "integer"}}, "required": ["ms"]}
    return [Action("fault.pause", 1, _pause, schema, schema, "Waits.", effect=Effect.IDEMPOTENT)]
