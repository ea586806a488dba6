"""Metrics of the Temporal SDK's core, served beside ours on the same port.

The core hands over single updates; here they are added up, so that no second port is open. Durations are in seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from temporalio.runtime import (
    BUFFERED_METRIC_KIND_COUNTER,
    BUFFERED_METRIC_KIND_GAUGE,
    BufferedMetricUpdate,
    MetricBuffer,
    MetricBufferDurationFormat,
)

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BUFFER_SIZE: Final = 20_000
"""Updates the core keeps between two drains; the core allocates all of them at once, about 100 bytes each."""
_Labels = tuple[tuple[str, str], ...]


@dataclass
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(BUCKETS, value)] += 1
        self.total += value

    def cumulated(self) -> Iterator[tuple[str, float]]:
        so_far = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self.counts, strict=True):
            so_far += count
            yield bound, so_far


@dataclass
class _Family:
    kind: int
    help: str
    values: dict[_Labels, float] = field(default_factory=dict)
    histograms: dict[_Labels, _Histogram] = field(default_factory=dict)

    def add(self, labels: _Labels, value: float) -> None:
        if self.kind == BUFFERED_METRIC_KIND_COUNTER:
            self.values[labels] = self.values.get(labels, 0.0) + value
        elif self.kind == BUFFERED_METRIC_KIND_GAUGE:
            self.values[labels] = value
        else:
            self.histograms.setdefault(labels, _Histogram()).add(value)

    def samples(self, name: str) -> Metric:
        names = sorted({label for labels in (*self.values, *self.histograms) for label, _ in labels})
        if self.histograms:
            histogram = HistogramMetricFamily(name, self.help, labels=names)
            for labels, found in self.histograms.items():
                histogram.add_metric(_in_order(labels, names), list(found.cumulated()), sum_value=found.total)
            return histogram
        counter = self.kind == BUFFERED_METRIC_KIND_COUNTER
        family = (CounterMetricFamily if counter else GaugeMetricFamily)(name, self.help, labels=names)
        for labels, value in self.values.items():
            family.add_metric(_in_order(labels, names), value)
        return family


class SdkMetrics(Collector):
    """Adds up what `buffer` gives; `drain` has to be called every few seconds, a scrape does it as well.

    Attributes:
        buffer: For the telemetry of the process's one runtime.
    """

    def __init__(self) -> None:
        self.buffer = MetricBuffer(_BUFFER_SIZE, MetricBufferDurationFormat.SECONDS)
        self._families: dict[str, _Family] = {}

    def drain(self) -> None:
        """Takes what the core has measured since the last time."""
        self.add(self.buffer.retrieve_updates())

    def add(self, updates: Iterable[BufferedMetricUpdate]) -> None:
        """Adds updates up."""
        for update in updates:
            metric = update.metric
            family = self._families.get(metric.name)
            if family is None:
                family = self._families[metric.name] = _Family(metric.kind, metric.description or metric.name)
            family.add(_labels(update.attributes), update.value)

    def collect(self) -> Iterable[Metric]:
        """One family per metric of the core."""
        self.drain()
        return [family.samples(name) for name, family in sorted(self._families.items())]


def _labels(attributes: Mapping[str, object]) -> _Labels:
    return tuple(sorted((name, str(value)) for name, value in attributes.items()))


def _in_order(labels: _Labels, names: list[str]) -> list[str]:
    given = dict(labels)
    return [given.get(name, "") for name in names]
