"""Actions called as the runtime calls them: input checked, handler, output checked."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

from workflows_core.actions.action import Action, ActionContext
from workflows_core.actions.call import validate_input, validate_output
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.ports import KeyValueStore
from workflows_core.actions.registry import ActionRegistry

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def core(http: HttpPolicy | None = None) -> ActionRegistry:
    """The core pack, registered."""
    return ActionRegistry.of({"core": core_pack(http or HttpPolicy())})


def context(**given: Any) -> ActionContext:
    """A context of a first attempt; any part may be given."""
    fields: dict[str, Any] = {
        "tenant_id": "acme",
        "run_id": "run-1",
        "step_path": "root.steps[0]",
        "attempt": 1,
        "idempotency_key": "run-1:root.steps[0]:1",
        "now": NOW,
        "logger": logging.getLogger("tests.actions"),
    }
    return ActionContext(**{**fields, **given})


async def call(action: Action, value: Any, **given: Any) -> Any:
    """The action's output."""
    validate_input(action, value)
    output = await action.handler(value, context(**given))
    validate_output(action, output)
    return output


class Core:
    """The core pack's first versions by name, for a test module."""

    def __init__(self, http: HttpPolicy | None = None) -> None:
        self.registry = core(http)

    def action(self, action_id: str) -> Action:
        """Version 1 of an action."""
        found = self.registry.get(action_id, 1)
        assert found is not None, action_id
        return found

    async def call(self, action_id: str, value: Any, *, store: KeyValueStore | None = None, **given: Any) -> Any:
        """See `call`."""
        return await call(self.action(action_id), value, store=store, **given)

    def run(self, action_id: str, value: Any) -> Any:
        """As `call`, for a test that is not asynchronous."""
        return asyncio.run(self.call(action_id, value))
