"""OpenTelemetry traces, from a launch through the workflow and its activities to the action; off unless configured.

The libraries are an extra of this wheel (`service-host[tracing]`): a service without traces does not carry them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from temporalio.client import Interceptor

from service_host.errors import StartRefused

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

ENDPOINT_VARIABLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_NAME: Final = "authored-workflows"


class Tracing:
    """The traces of one process.

    Args:
        service: Name of the service, on every span.
        identity: Of the process, on every span.
        exporter: Where spans go.
    """

    def __init__(self, service: str, identity: str, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - only where it is installed
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        resource = Resource.create({"service.name": service, "service.instance.id": identity})
        # `shutdown_on_exit` would wait for a collector that is away; what is left then is lost.
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer: Tracer = self.provider.get_tracer(_NAME)

    def interceptor(self) -> Interceptor:
        """For the one Temporal client; its workers take it over."""
        from temporalio.contrib.opentelemetry import TracingInterceptor  # noqa: PLC0415

        return TracingInterceptor(self._tracer)

    @contextmanager
    def observe(self, action: str, facts: Mapping[str, str]) -> Iterator[None]:
        """A span around an action's handler, inside the one of its activity.

        Of an error it has the name only: what a handler says may hold a secret, which its activity's span leaves out.
        """
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

        attributes = {f"workflow.{name}": value for name, value in facts.items()}
        with self._tracer.start_as_current_span(
            f"Action:{action}", attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise


@lru_cache(maxsize=4)
def tracing_to(endpoint: str | None, service: str, identity: str) -> Tracing | None:
    """Traces that go to a collector by OTLP over HTTP, once for each process; None without an endpoint.

    Raises:
        StartRefused: `TRACING_NOT_INSTALLED`: the endpoint is set, and the extra is not installed.
    """
    if endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        return Tracing(service, identity, OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces"))
    except ModuleNotFoundError as error:
        advice = f"{error.name} is not installed; install service-host[tracing], or remove the variable"
        raise StartRefused.one("TRACING_NOT_INSTALLED", ENDPOINT_VARIABLE, advice) from None


def interceptors_of(tracing: Tracing | None) -> list[Interceptor]:
    """For `Client.connect`."""
    return [] if tracing is None else [tracing.interceptor()]


Observe = Callable[[str, Mapping[str, str]], AbstractContextManager[object]]
"""What a runtime is given to tell of its actions."""


def observer_of(tracing: Tracing | None) -> Observe | None:
    """For the runtime of authored runs."""
    return None if tracing is None else tracing.observe
