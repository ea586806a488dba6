"""Connection to Temporal: TLS, API key, identity, and patience.

The SDK's client reads no proxy variable (HTTP_PROXY and its kin are ignored unless a proxy is configured in code), so a
loopback address is always reached directly.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    MetricBuffer,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import RPCError, RPCStatusCode, TLSConfig

from service_host.errors import Unreachable
from service_host.payload_codec import encrypting, parse_keys, refusing
from service_host.reaching import ATTEMPT_SECONDS, until_reached
from service_host.settings import TemporalSettings
from service_host.tracing import Tracing, interceptors_of, tracing_to

PERMANENT: Final = frozenset({RPCStatusCode.NOT_FOUND, RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED})
"""Answers that waiting does not change: the namespace is not there, or not for us."""

_SAID = re.compile(r'(?:message|error): "([^"]+)"')
_LONGEST_REASON: Final = 300
_CERTIFICATE = "the server's certificate is not accepted: "
_WRONG_TLS: Final = {
    "UnknownIssuer": f"{_CERTIFICATE}TEMPORAL_TLS_CA, or without it the system, does not have the CA that signed it",
    "NotValidForName": f"{_CERTIFICATE}it is for another name; TEMPORAL_TLS_SERVER_NAME says which one it has to have",
    "InvalidCertificate(Expired": f"{_CERTIFICATE}it has expired",
    "InvalidContentType": "what answers there does not speak TLS; without it, set TEMPORAL_TLS=false",
}
"""What stands in the core's words, and what it means."""
_HUNG_UP: Final = frozenset({"transport error", "operation was canceled"})
"""What the core says of a server that closes the connection: the second where it did before the call was sent."""


def identity_of(service: str) -> str:
    """`<service>@<host>:<pid>`, by which pollers and logs are told apart."""
    return f"{service}@{socket.gethostname()}:{os.getpid()}"


def service_of(identity: str) -> str:
    """The service part of an identity; the whole text if it is not one of ours."""
    service, separator, _ = identity.partition("@")
    return service if separator and not service.isdigit() else identity


def process_runtime(metrics: MetricBuffer) -> Runtime:
    """A runtime whose core logs through the standard library (logger `temporalio.core`) instead of to the terminal.

    Make one per process and keep it: it owns the threads of every client and worker made with it.

    Args:
        metrics: Where the core's measures go.
    """
    forwarding = LogForwardingConfig(
        logger=logging.getLogger("temporalio.core"), append_target_to_name=False, prepend_target_on_message=False
    )
    return Runtime(
        telemetry=TelemetryConfig(
            logging=LoggingConfig(
                filter=TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding=forwarding
            ),
            metrics=metrics,
        )
    )


async def connect_temporal(
    settings: TemporalSettings,
    identity: str,
    *,
    data_converter: DataConverter = DataConverter.default,
    runtime: Runtime | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> Client:
    """A client whose server has answered for our namespace; waits as long as that takes.

    Args:
        settings: Address, namespace, TLS, API key.
        identity: See `identity_of`.
        data_converter: The service's own converter, if it has one.
        runtime: See `process_runtime`.
        on_wait: Told why we wait.
    """

    async def attempt() -> Client:
        return await try_temporal(settings, identity, data_converter=data_converter, runtime=runtime)

    return await until_reached(attempt, on_wait=on_wait)


async def try_temporal(
    settings: TemporalSettings,
    identity: str,
    *,
    data_converter: DataConverter = DataConverter.default,
    runtime: Runtime | None = None,
) -> Client:
    """One attempt of `connect_temporal`.

    Raises:
        Unreachable: With the reason in one line.
    """
    where = f"{settings.temporal_address} (namespace {settings.temporal_namespace})"
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS):
            client = await Client.connect(
                settings.temporal_address,
                namespace=settings.temporal_namespace,
                api_key=settings.temporal_api_key.get_secret_value() if settings.temporal_api_key else None,
                tls=_tls(settings),
                identity=identity,
                data_converter=_converter(settings, data_converter),
                interceptors=interceptors_of(tracing_of(settings, identity)),
                runtime=runtime,
                connect_timeout=timedelta(seconds=ATTEMPT_SECONDS),
            )
    except TimeoutError:
        raise Unreachable("Temporal", where, f"no answer within {ATTEMPT_SECONDS:g} s") from None
    except (RuntimeError, RPCError, ValueError) as error:
        raise Unreachable("Temporal", where, _reason(error, settings)) from error
    await ask_namespace(client)
    return client


async def ask_namespace(client: Client) -> None:
    """Ask the server about the client's own namespace, the smallest call that shows it can serve us.

    Raises:
        Unreachable: `permanent` if the namespace does not exist or we may not use it.
    """
    where = f"{client.service_client.config.target_host} (namespace {client.namespace})"
    try:
        await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace), timeout=timedelta(seconds=ATTEMPT_SECONDS)
        )
    except RPCError as error:
        reason = f"{error.status.name}: {error.message}"[:_LONGEST_REASON]
        raise Unreachable("Temporal", where, reason, permanent=error.status in PERMANENT) from error


def tracing_of(settings: TemporalSettings, identity: str) -> Tracing | None:
    """The process's traces, or None.

    Raises:
        StartRefused: They are wanted, and their libraries are not installed.
    """
    return tracing_to(settings.otel_exporter_otlp_endpoint, service_of(identity), identity)


def _converter(settings: TemporalSettings, converter: DataConverter) -> DataConverter:
    if settings.temporal_payload_keys is None:
        return refusing(converter)
    return encrypting(converter, parse_keys(settings.temporal_payload_keys.get_secret_value()))


def _tls(settings: TemporalSettings) -> bool | TLSConfig:
    if not settings.temporal_uses_tls:
        return False
    files = (settings.temporal_tls_ca, settings.temporal_tls_cert, settings.temporal_tls_key)
    if not any(files) and settings.temporal_tls_server_name is None:
        return True
    ca, certificate, key = (path.read_bytes() if path is not None else None for path in files)
    return TLSConfig(
        server_root_ca_cert=ca,
        client_cert=certificate,
        client_private_key=key,
        domain=settings.temporal_tls_server_name,
    )


def _reason(error: BaseException, settings: TemporalSettings) -> str:
    text = str(error)
    for words, meaning in _WRONG_TLS.items():
        if words in text:
            return meaning
    found = _SAID.search(text)
    said = found.group(1) if found else text[:_LONGEST_REASON]
    if said not in _HUNG_UP:
        return said
    if not settings.temporal_uses_tls:
        return "the server hangs up: where it wants TLS, set TEMPORAL_TLS=true"
    if settings.temporal_tls_cert is None:
        return "the server hangs up: it may want a client certificate, TEMPORAL_TLS_CERT and TEMPORAL_TLS_KEY"
    return "the server hangs up: it may not accept the client certificate of TEMPORAL_TLS_CERT"
