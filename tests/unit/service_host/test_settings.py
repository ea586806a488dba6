"""Settings: everything wrong at once, nothing secret, nothing from a second source."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings

from service_host.errors import StartRefused
from service_host.settings import HealthSettings, LogSettings, PostgresSettings, TemporalSettings, load_settings

COMPLETE = {
    "TEMPORAL_ADDRESS": "localhost:7233",
    "DB_HOST": "localhost",
    "DB_NAME_SERVER": "server",
    "DB_USER_SERVER": "app",
    "DB_PASSWORD_SERVER": "hunter2",
}


class Settings(TemporalSettings, PostgresSettings, HealthSettings, LogSettings, BaseSettings):
    """As a service composes it."""


class Coded(LogSettings):
    letter: str = Field(default="a", validation_alias="LETTER", description="the letter a")

    @field_validator("letter")
    @classmethod
    def _only_a(cls, value: str) -> str:
        if value != "a":
            raise PydanticCustomError("LETTER_NOT_OURS", "the letter {letter} is not ours", {"letter": value})
        return value


def refused(environ: dict[str, str], retired: dict[str, str] | None = None) -> dict[str, tuple[str, str]]:
    with pytest.raises(StartRefused) as caught:
        load_settings(Settings, environ, retired)
    return {problem.where: (problem.code, problem.message) for problem in caught.value.problems}


def test_a_complete_environment_is_enough_and_the_rest_has_defaults() -> None:
    settings = load_settings(Settings, COMPLETE)
    assert (settings.temporal_address, settings.temporal_namespace) == ("localhost:7233", "default")
    assert (settings.db_port, settings.port, settings.health_host) == (5432, 4000, "127.0.0.1")
    assert settings.db_password_server.get_secret_value() == "hunter2"


def test_every_wrong_variable_is_named_at_once() -> None:
    found = refused({"TEMPORAL_ADDRESS": "localhost", "PORT": "http", "LOG_LEVEL": "loud", "DB_PORT": "0"})
    assert {where: code for where, (code, _) in found.items()} == {
        "TEMPORAL_ADDRESS": "SETTING_INVALID",
        "PORT": "SETTING_INVALID",
        "LOG_LEVEL": "SETTING_INVALID",
        "DB_PORT": "SETTING_INVALID",
        "DB_HOST": "SETTING_MISSING",
        "DB_NAME_SERVER": "SETTING_MISSING",
        "DB_USER_SERVER": "SETTING_MISSING",
        "DB_PASSWORD_SERVER": "SETTING_MISSING",
    }
    assert "'http'" in found["PORT"][1]
    assert "host:port" in found["TEMPORAL_ADDRESS"][1]


def test_an_empty_variable_counts_as_not_set() -> None:
    assert refused({**COMPLETE, "DB_HOST": ""})["DB_HOST"][0] == "SETTING_MISSING"
    assert load_settings(Settings, {**COMPLETE, "PORT": ""}).port == 4000


def test_no_secret_and_no_credentials_in_an_address_are_shown() -> None:
    found = refused({**COMPLETE, "TEMPORAL_ADDRESS": "me:hunter3@host", "TEMPORAL_API_KEY": "key4", "PORT": "x"})
    text = str(found)
    assert "***" in found["TEMPORAL_ADDRESS"][1]
    assert not any(secret in text for secret in ("hunter2", "hunter3", "key4"))


def test_a_retired_variable_is_refused_with_its_successor_beside_other_problems() -> None:
    found = refused({**COMPLETE, "OLD_NAME": "x", "PORT": "x"}, {"OLD_NAME": "set NEW_NAME.", "OTHER": "nothing."})
    assert set(found) == {"OLD_NAME", "PORT"}
    assert found["OLD_NAME"] == ("SETTING_RETIRED", "is no longer read: set NEW_NAME.")


def test_only_the_given_mapping_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1234")
    monkeypatch.setenv("DB_HOST", "elsewhere")
    without_host = {name: value for name, value in COMPLETE.items() if name != "DB_HOST"}
    assert set(refused(without_host)) == {"DB_HOST"}
    assert load_settings(Settings, COMPLETE).port == 4000


@pytest.mark.parametrize("given", ["TEMPORAL_TLS_CERT", "TEMPORAL_TLS_KEY"])
def test_certificate_and_key_go_together(tmp_path: Path, given: str) -> None:
    certificate, _ = pair(tmp_path, "one")
    assert "must be set together" in refused({**COMPLETE, given: certificate})["TEMPORAL_TLS_KEY"][1]


def test_files_must_exist_and_contradict_no_tls(tmp_path: Path) -> None:
    assert set(refused({**COMPLETE, "TEMPORAL_TLS_CA": str(tmp_path / "absent")})) == {"TEMPORAL_TLS_CA"}
    certificate, _ = pair(tmp_path, "one")
    assert "TEMPORAL_TLS_KEY" in refused({**COMPLETE, "TEMPORAL_TLS": "false", "TEMPORAL_TLS_CA": certificate})
    named = {**COMPLETE, "TEMPORAL_TLS": "false", "TEMPORAL_TLS_SERVER_NAME": "temporal.example.org"}
    assert "TEMPORAL_TLS_SERVER_NAME" in refused(named)


def pair(folder: Path, name: str) -> tuple[str, str]:
    """A certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(files[0]), str(files[1])


def test_tls_files_hold_what_they_should(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path, "one")
    _, other = pair(tmp_path, "other")
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\xff\x00")

    def wrong(ca: str, cert: str, private: str) -> dict[str, str]:
        files = {"TEMPORAL_TLS_CA": ca, "TEMPORAL_TLS_CERT": cert, "TEMPORAL_TLS_KEY": private}
        return {name: message for name, (_, message) in refused({**COMPLETE, **files}).items()}

    given = {"TEMPORAL_TLS_CA": certificate, "TEMPORAL_TLS_CERT": certificate, "TEMPORAL_TLS_KEY": key}
    assert load_settings(Settings, {**COMPLETE, **given}).temporal_uses_tls
    assert "another certificate" in wrong(certificate, certificate, other)["TEMPORAL_TLS_KEY"]
    assert "no private key" in wrong(certificate, certificate, certificate)["TEMPORAL_TLS_KEY"]
    both = wrong(key, str(garbage), key)
    assert "no certificate in PEM form" in both["TEMPORAL_TLS_CA"]
    assert "no PEM file" in both["TEMPORAL_TLS_CERT"]


@pytest.mark.parametrize(
    ("given", "uses_tls"),
    [
        ({}, False),
        ({"TEMPORAL_API_KEY": "k"}, True),
        ({"TEMPORAL_API_KEY": "k", "TEMPORAL_TLS": "false"}, False),
        ({"TEMPORAL_TLS": "true"}, True),
        ({"TEMPORAL_TLS_SERVER_NAME": "temporal.example.org"}, True),
    ],
)
def test_an_api_key_means_tls_unless_told_otherwise(given: dict[str, str], uses_tls: bool) -> None:
    assert load_settings(Settings, {**COMPLETE, **given}).temporal_uses_tls is uses_tls


@pytest.mark.parametrize("key", ["two\nlines", "with a space", "schlüssel", "a\tb"])
def test_an_api_key_that_no_header_can_carry_is_refused_and_not_shown(key: str) -> None:
    """The SDK sends none then, and the server's refusal says nothing of it."""
    code, message = refused({**COMPLETE, "TEMPORAL_API_KEY": key})["TEMPORAL_API_KEY"]
    assert code == "SETTING_INVALID"
    assert message.startswith("***: holds a space, a line break or a character outside ASCII")


@pytest.mark.parametrize("password", [b"schl\xfcssel", b"a\0b"])
def test_a_secret_that_is_no_text_is_refused_and_not_shown(password: bytes) -> None:
    """Set in another encoding, a password ended `check` and `db create-login` with a trace."""
    given = os.fsdecode(password)
    assert refused({**COMPLETE, "DB_PASSWORD_SERVER": given}) == {
        "DB_PASSWORD_SERVER": (
            "SETTING_INVALID",
            "***: is no text: it has bytes that are not UTF-8, or a null byte",
        )
    }


def test_a_validator_of_a_service_may_set_the_code() -> None:
    with pytest.raises(StartRefused) as caught:
        load_settings(Coded, {"LETTER": "b"})
    assert str(caught.value) == "LETTER_NOT_OURS LETTER: the letter b is not ours"
    assert caught.value.code == "LETTER_NOT_OURS"


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hush\n", encoding="utf-8")
    environ = {"DB_HOST": "h", "DB_NAME_SERVER": "n", "DB_USER_SERVER": "u", "DB_PASSWORD_SERVER_FILE": str(file)}
    assert load_settings(PostgresSettings, environ).db_password_server.get_secret_value() == "hush"


def test_a_secret_file_that_cannot_be_read_and_one_beside_its_variable_are_refused(tmp_path: Path) -> None:
    environ = {"DB_HOST": "h", "DB_NAME_SERVER": "n", "DB_USER_SERVER": "u"}
    missing = {**environ, "DB_PASSWORD_SERVER_FILE": str(tmp_path / "nothing")}
    with pytest.raises(StartRefused) as refused:
        load_settings(PostgresSettings, missing)
    assert [(p.code, p.where) for p in refused.value.problems] == [("SETTING_INVALID", "DB_PASSWORD_SERVER_FILE")]
    with pytest.raises(StartRefused, match="set one of them") as refused:
        load_settings(PostgresSettings, {**missing, "DB_PASSWORD_SERVER": "hush"})
    assert "hush" not in str(refused.value)


def test_a_secret_file_that_is_empty_is_refused_and_not_taken_for_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("\n", encoding="utf-8")
    for variable in ("TEMPORAL_API_KEY_FILE", "DB_PASSWORD_SERVER_FILE"):
        complete = {name: value for name, value in COMPLETE.items() if f"{name}_FILE" != variable}
        assert refused({**complete, variable: str(file)}) == {variable: ("SETTING_INVALID", f"{str(file)!r} is empty")}


@pytest.mark.parametrize("host", ["a..b", "0.0..0", "é" * 70, "x" * 64])
def test_a_host_that_no_resolver_can_be_asked_for_is_refused(host: str) -> None:
    found = refused({**COMPLETE, "DB_HOST": host, "HEALTH_HOST": host})
    assert set(found) == {"DB_HOST", "HEALTH_HOST"}
    for code, message in found.values():
        assert (code, "no host name" in message) == ("SETTING_INVALID", True)


@pytest.mark.parametrize("host", ["db.example.org.", "127.0.0.1", "::1", "fe80::1%eth0", "my_db", "bücher.example"])
def test_hosts_and_folders_of_sockets_are_taken(host: str) -> None:
    assert load_settings(Settings, {**COMPLETE, "DB_HOST": host, "HEALTH_HOST": host}).db_host == host
    assert load_settings(Settings, {**COMPLETE, "DB_HOST": "/run/a..b/"}).db_host == "/run/a..b/"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("k1", "entry 1 is not name:key"),
        ("k1:????", "the key of 'k1' is not base64"),
        ("k1:aGVsbG8=", "the key of 'k1' has 5 bytes, not 32"),
        (f"k1:{'A' * 43}=,k1:{'A' * 43}=", "entry 2 repeats the name 'k1'"),
        ("plain", "plain needs keys behind it"),
        (" plain ,k:aGVsbG8=", "the key of 'k' has 5 bytes"),
    ],
)
def test_a_payload_key_that_is_none_is_named_and_not_shown(value: str, said: str) -> None:
    code, message = refused({**COMPLETE, "TEMPORAL_PAYLOAD_KEYS": value})["TEMPORAL_PAYLOAD_KEYS"]
    assert code == "SETTING_INVALID"
    assert said in message
    assert "aGVsbG8" not in message
    assert "AAAA" not in message
