"""The core's single updates become families that Prometheus can read."""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client import generate_latest
from temporalio.runtime import (
    BUFFERED_METRIC_KIND_COUNTER,
    BUFFERED_METRIC_KIND_GAUGE,
    BUFFERED_METRIC_KIND_HISTOGRAM,
    BufferedMetricKind,
)

from service_host.metrics import new_registry
from service_host.sdk_metrics import SdkMetrics


@dataclass
class Measured:
    name: str
    kind: BufferedMetricKind
    description: str | None = None
    unit: str | None = None


@dataclass
class Update:
    metric: Measured
    value: float
    attributes: dict[str, str | int | float | bool] = field(default_factory=dict)


class Given(SdkMetrics):
    def drain(self) -> None:
        """The test adds the updates itself."""


def test_counters_add_up_gauges_are_the_last_and_histograms_count_by_bucket() -> None:
    requests = Measured("temporal_request", BUFFERED_METRIC_KIND_COUNTER, "Requests.")
    slots = Measured("temporal_slots", BUFFERED_METRIC_KIND_GAUGE)
    latency = Measured("temporal_latency", BUFFERED_METRIC_KIND_HISTOGRAM)
    found = Given()
    found.add([Update(requests, 2, {"operation": "Poll"}), Update(requests, 3, {"operation": "Poll"})])
    found.add([Update(requests, 1), Update(slots, 7), Update(slots, 4)])
    found.add([Update(latency, 0.004), Update(latency, 0.03), Update(latency, 100.0)])
    registry = new_registry()
    registry.register(found)
    text = generate_latest(registry).decode()
    assert 'temporal_request_total{operation="Poll"} 5.0' in text
    assert 'temporal_request_total{operation=""} 1.0' in text
    assert "temporal_slots 4.0" in text
    assert 'temporal_latency_bucket{le="0.005"} 1.0' in text
    assert 'temporal_latency_bucket{le="0.05"} 2.0' in text
    assert 'temporal_latency_bucket{le="+Inf"} 3.0' in text
    assert "temporal_latency_sum 100.034" in text
    assert "# HELP temporal_request_total Requests." in text
