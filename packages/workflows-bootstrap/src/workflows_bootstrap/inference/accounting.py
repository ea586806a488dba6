"""What AI costs: every answer's tokens, by tenant and model, in the log and as totals of this process."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from workflows_bootstrap.inference.provider import Usage
from workflows_core.actions.action import ActionContext

_LOG = logging.getLogger("workflows_bootstrap.ai")


@dataclass
class TokenAccount:
    """Totals since the process began: (tenant, model) to prompt and completion tokens."""

    _totals: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)

    def record(self, usage: Usage, context: ActionContext) -> None:
        """Adds one answer, and says so in the log with its run and step."""
        key = (context.tenant_id, usage.model)
        prompt, completion = self._totals.get(key, (0, 0))
        self._totals[key] = (prompt + usage.prompt_tokens, completion + usage.completion_tokens)
        _LOG.info(
            "AI answered with %s: %d prompt and %d completion tokens",
            usage.model,
            usage.prompt_tokens,
            usage.completion_tokens,
            extra={
                "event": "ai_usage",
                "tenant": context.tenant_id,
                "run_id": context.run_id,
                "step_path": context.step_path,
                "model": usage.model,
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
            },
        )

    @property
    def totals(self) -> Mapping[tuple[str, str], tuple[int, int]]:
        """(tenant, model) to (prompt tokens, completion tokens)."""
        return dict(self._totals)
