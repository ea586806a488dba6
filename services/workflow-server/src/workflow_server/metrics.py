"""Metrics that only this service has."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from workflows_bootstrap.services import ApplicationServices


class TokenMetrics(Collector):
    """`workflow_ai_tokens_total`: tokens of AI answers by tenant, model and kind.

    Args:
        services: Has the account.
    """

    def __init__(self, services: ApplicationServices) -> None:
        self._tokens = services.tokens

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The totals of this moment."""
        family = CounterMetricFamily(
            "workflow_ai_tokens", "Tokens of AI answers since the process began.", labels=("tenant", "model", "kind")
        )
        for (tenant, model), (prompt, completion) in sorted(self._tokens.totals.items()):
            family.add_metric((tenant, model, "prompt"), prompt)
            family.add_metric((tenant, model, "completion"), completion)
        yield family
