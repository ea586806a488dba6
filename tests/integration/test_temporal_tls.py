"""Temporal behind TLS: what is set is what is used, and what is wrong is said so that somebody can mend it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from harness.certificates import Authority
from harness.forwarding import Forwarder
from service_host.errors import Unreachable
from service_host.settings import TemporalSettings, load_settings
from service_host.temporal import try_temporal
from workflows_cli.embedded import EmbeddedTemporal

pytestmark = pytest.mark.asyncio(loop_scope="session")


@asynccontextmanager
async def behind_tls(temporal: EmbeddedTemporal, pair: tuple[str, str], clients: str | None) -> AsyncIterator[str]:
    """The address of a front with that certificate, which asks for certificates of a CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    context.set_alpn_protocols(["h2"])
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    host, _, port = temporal.address.rpartition(":")
    front = Forwarder(host, int(port), context)
    await front.open()
    try:
        yield front.address
    finally:
        await front.close()


def settings_of(temporal: EmbeddedTemporal, address: str, **given: str) -> TemporalSettings:
    told = {"TEMPORAL_ADDRESS": address, "TEMPORAL_NAMESPACE": temporal.namespace}
    return load_settings(TemporalSettings, told | {f"TEMPORAL_{name}": value for name, value in given.items()})


async def reason(settings: TemporalSettings) -> str:
    with pytest.raises(Unreachable) as refused:
        await try_temporal(settings, "a test")
    return refused.value.reason


async def test_a_server_that_wants_certificates_is_reached_with_them(
    temporal: EmbeddedTemporal, tmp_path: Path
) -> None:
    ours, strangers = Authority(tmp_path, "ours"), Authority(tmp_path, "strangers")
    certificate, key = ours.pair("worker")
    named = {"TLS_CA": ours.file, "TLS_SERVER_NAME": "temporal"}
    async with behind_tls(temporal, ours.pair("temporal"), ours.file) as address:
        client = await try_temporal(
            settings_of(temporal, address, **named, TLS_CERT=certificate, TLS_KEY=key), "a test"
        )
        assert client.namespace == temporal.namespace
        certificate, key = strangers.pair("stranger")
        # Each is tried often: what the client sees depends on how far its call is when the server hangs up.
        without = {await reason(settings_of(temporal, address, **named)) for _ in range(100)}
        assert without == {
            "the server hangs up: it may want a client certificate, TEMPORAL_TLS_CERT and TEMPORAL_TLS_KEY"
        }
        with_another = settings_of(temporal, address, **named, TLS_CERT=certificate, TLS_KEY=key)
        assert {await reason(with_another) for _ in range(100)} == {
            "the server hangs up: it may not accept the client certificate of TEMPORAL_TLS_CERT"
        }


async def test_what_is_wrong_with_tls_is_said_with_the_setting_that_mends_it(
    temporal: EmbeddedTemporal, tmp_path: Path
) -> None:
    """It was said in the words of the libraries underneath, or as "transport error"."""
    ours, strangers = Authority(tmp_path, "ours"), Authority(tmp_path, "strangers")
    named = {"TLS_CA": ours.file, "TLS_SERVER_NAME": "temporal"}
    async with behind_tls(temporal, ours.pair("temporal"), None) as address:
        client = await try_temporal(settings_of(temporal, address, **named, API_KEY="a-key"), "a test")
        assert client.namespace == temporal.namespace
        for told, wanted in (
            ({}, "the server hangs up: where it wants TLS, set TEMPORAL_TLS=true"),
            ({"TLS_CA": ours.file}, "it is for another name; TEMPORAL_TLS_SERVER_NAME says which"),
            (named | {"TLS_CA": strangers.file}, "TEMPORAL_TLS_CA, or without it the system, does not have the CA"),
            ({"API_KEY": "a-key"}, "TEMPORAL_TLS_CA, or without it the system, does not have the CA"),
        ):
            assert wanted in await reason(settings_of(temporal, address, **told))
    async with behind_tls(temporal, ours.pair("temporal", ago=timedelta(days=2)), None) as address:
        assert "not accepted: it has expired" in await reason(settings_of(temporal, address, **named))
    said = await reason(settings_of(temporal, temporal.address, API_KEY="a-key"))
    assert said == "what answers there does not speak TLS; without it, set TEMPORAL_TLS=false"
    said = await reason(settings_of(temporal, "nobody.invalid:7233"))
    assert "tonic" not in said
