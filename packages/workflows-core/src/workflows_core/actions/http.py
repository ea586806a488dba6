"""`http.request`: its registration. What it works with is loaded at its first call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.http_schemas import REQUEST_OUTPUT, request_input
from workflows_core.errors import Json

if TYPE_CHECKING:
    from workflows_core.actions.http_exchange import Exchange

_GRACE_MS = 10_000


def http_actions(policy: HttpPolicy) -> Sequence[Action]:
    """http.request under a policy."""
    made: list[Exchange] = []

    async def request(value: Any, context: ActionContext) -> Json:
        if not made:
            # The HTTP client and the certificates of all authorities are some megabytes of each idle worker.
            from workflows_core.actions.http_exchange import Exchange  # noqa: PLC0415

            made.append(Exchange.of(policy))
        return await made[0].request(value, context)

    return (
        Action(
            id="http.request",
            version=1,
            handler=request,
            input_schema=request_input(policy.max_timeout_ms),
            output_schema=REQUEST_OUTPUT,
            description="Sends an HTTP request to a public address and gives back the answer.",
            category="http",
            effect=Effect.IDEMPOTENT,
            timeout_ms=policy.max_timeout_ms + _GRACE_MS,
        ),
    )
