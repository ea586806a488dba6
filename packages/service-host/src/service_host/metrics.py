"""Prometheus metrics that every service has; the registry is the service's own and is passed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service_host.ownership_probe import QueueView
from service_host.pollers import PollerKind
from service_host.progress import LoopReport, LoopState


def new_registry() -> CollectorRegistry:
    """An empty registry, without the process-wide default collectors."""
    return CollectorRegistry()


class LoopMetrics(Collector):
    """State, restarts and time of last progress of each supervised loop, read when scraped."""

    def __init__(self, service: str, reports: Callable[[], Sequence[LoopReport]]) -> None:
        self._service = service
        self._reports = reports

    def collect(self) -> Iterable[Metric]:
        """One sample per loop and state."""
        return self._collect()

    def _collect(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "service_loop_state", "1 for the state the loop is in.", labels=["service", "loop", "state"]
        )
        restarts = CounterMetricFamily(
            "service_loop_restarts", "How often the loop was started again.", labels=["service", "loop"]
        )
        since = GaugeMetricFamily(
            "service_loop_seconds_since_progress", "Age of the loop's last progress.", labels=["service", "loop"]
        )
        for report in self._reports():
            for candidate in LoopState:
                state.add_metric([self._service, report.name, candidate], float(report.state is candidate))
            restarts.add_metric([self._service, report.name], report.restarts)
            if report.since_progress is not None:
                since.add_metric([self._service, report.name], report.since_progress)
        yield state
        yield restarts
        yield since


class PollerMetrics(Collector):
    """Pollers, intruders and backlog of each owned queue, as the last probe saw them."""

    def __init__(self, views: Callable[[], Sequence[QueueView]]) -> None:
        self._views = views

    def collect(self) -> Iterable[Metric]:
        """One sample per queue and kind."""
        return self._collect()

    def _collect(self) -> Iterator[Metric]:
        pollers = GaugeMetricFamily("queue_pollers", "Pollers the server lists.", labels=["queue", "kind"])
        foreign = GaugeMetricFamily("queue_foreign_pollers", "Pollers that are not the owner's.", labels=["queue"])
        backlog = GaugeMetricFamily(
            "queue_backlog_tasks", "Tasks without a poller (approximate).", labels=["queue", "kind"]
        )
        age = GaugeMetricFamily(
            "queue_backlog_age_seconds", "How long the oldest of them has waited.", labels=["queue", "kind"]
        )
        for view in self._views():
            queue = view.pollers.queue
            for kind in PollerKind:
                pollers.add_metric([queue, kind], len(view.pollers.of_kind(kind)))
                backlog.add_metric([queue, kind], view.pollers.backlog[kind])
                age.add_metric([queue, kind], view.pollers.backlog_age[kind])
            foreign.add_metric([queue], len(view.foreign))
        yield pollers
        yield foreign
        yield backlog
        yield age
