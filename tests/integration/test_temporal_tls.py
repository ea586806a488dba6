"""Temporal behind TLS: what is set is what is used, and what is wrong is said so that somebody can mend it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness.forwarding import Forwarder
from service_host.errors import Unreachable
from service_host.settings import TemporalSettings, load_settings
from service_host.temporal import try_temporal
from workflows_cli.embedded import EmbeddedTemporal

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Authority:
    """A CA with its file, and what it signs."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = self._write(f"{name}.pem", self._signed(self._name, self._key.public_key(), is_ca=True))

    def pair(self, name: str, *, ago: timedelta = timedelta()) -> tuple[str, str]:
        """Files of a certificate for a name, made as if that long ago and good for a day, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(subject, key.public_key(), ago=ago)
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        private = self._folder / f"{name}-key.pem"
        private.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
        return self._write(f"{name}-cert.pem", certificate), str(private)

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, is_ca: bool = False, ago: timedelta = timedelta()
    ) -> x509.Certificate:
        begin = datetime.now(UTC) - timedelta(hours=1) - ago
        made = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        made = made.not_valid_before(begin).not_valid_after(begin + timedelta(days=1))
        made = made.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        if not is_ca:
            (name,) = subject
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(str(name.value))]), critical=False)
        return made.sign(self._key, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate) -> str:
        file = self._folder / name
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return str(file)


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
