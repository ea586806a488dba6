"""A short action: pure, inside the workflow task, no database and no network."""

from __future__ import annotations

import time
from typing import Any

from temporalio import activity

from workflows_core.actions.ports import ActionObserver, SecretProvider
from workflows_core.actions.registry import ActionRegistry
from workflows_core.errors import StepFailed
from workflows_core.execution.failures import authored_error
from workflows_core.execution.handlers import call_handler, required_action
from workflows_core.execution.policy import RunPolicy
from workflows_core.wire.records import ActionCall


async def run_short_action(
    registry: ActionRegistry,
    secrets: SecretProvider,
    policy: RunPolicy,
    tenant: str,
    run_id: str,
    call: ActionCall,
    *,
    observe: ActionObserver | None = None,
) -> dict[str, Any]:
    """`{output, elapsedMs}`; the time goes into history, where the driver's budget counts it.

    Raises:
        ApplicationError: The authored failure.
    """
    begun = time.monotonic()

    def elapsed() -> int:
        return int((time.monotonic() - begun) * 1000)

    try:
        action = required_action(registry, call)
        output = await call_handler(
            action,
            call,
            tenant,
            run_id,
            secrets,
            store=None,
            observe=observe,
            max_output_bytes=policy.max_short_output_bytes,
        )
    except StepFailed as error:
        raise authored_error(error.failure, recorded=False, elapsed_ms=elapsed()) from None
    activity.logger.debug("short action ended", extra={"action": call["action_id"]})
    return {"output": output, "elapsedMs": elapsed()}
