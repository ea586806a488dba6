"""Encryption of what Temporal keeps: AES-256-GCM over each payload, with keys that only our processes have.

The first key encrypts, every key decrypts, so that a key can be replaced while runs are open. A payload that is not
encrypted is passed on as it is: histories from before, and callers without keys, stay readable.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    PayloadCodec,
    PayloadConverter,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ENCODING: Final = b"binary/encrypted"
KEY_ID: Final = "encryption-key-id"
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_KEY_NAME: Final = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_PLAIN: Final = "plain"


class PayloadUnreadable(Exception):
    """Indicates a payload that no key of this process decrypts."""


@dataclass(frozen=True, slots=True)
class PayloadKeys:
    """What a process encrypts and decrypts with.

    Attributes:
        by_name: 32 bytes each.
        current: Name of the one that encrypts; None while nothing is encrypted yet.
    """

    by_name: Mapping[str, bytes]
    current: str | None


def parse_keys(text: str) -> PayloadKeys:
    """Reads `name:base64,name:base64`; the first is the one that encrypts. `plain` in its place encrypts nothing.

    Raises:
        ValueError: Says which entry is wrong, by its place and never by its value.
    """
    keys: dict[str, bytes] = {}
    entries = text.split(",")
    encrypts = entries[0].strip() != _PLAIN
    if not encrypts and not entries[1:]:
        raise ValueError("plain needs keys behind it: they decrypt what other processes encrypt")
    for number, entry in list(enumerate(entries, 1))[0 if encrypts else 1 :]:
        name, separator, encoded = entry.strip().partition(":")
        if not separator or not _KEY_NAME.match(name):
            raise ValueError(f"entry {number} is not name:key, with a name of letters, digits, '.', '_' and '-'")
        if name in keys:
            raise ValueError(f"entry {number} repeats the name {name!r}")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise ValueError(f"the key of {name!r} is not base64") from None
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key of {name!r} has {len(key)} bytes, not {KEY_BYTES}")
        keys[name] = key
    return PayloadKeys(keys, next(iter(keys)) if encrypts else None)


class AesGcmCodec(PayloadCodec):
    """Encrypts with the current one of its keys, and decrypts with each."""

    def __init__(self, keys: PayloadKeys) -> None:
        # Loaded here, so that a process without keys does not carry it.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        self._ciphers: Mapping[str, AESGCM] = {name: AESGCM(key) for name, key in keys.by_name.items()}
        self._current = keys.current

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Every payload encrypted, its metadata included; as it is while no key is current."""
        current = self._current
        return list(payloads) if current is None else [self._encrypted(payload, current) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Every payload as it was.

        Raises:
            PayloadUnreadable: Its key is not ours, or it was changed.
        """
        return [self._decrypted(payload) for payload in payloads]

    def _encrypted(self, payload: Payload, current: str) -> Payload:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        name = current.encode()
        sealed = self._ciphers[current].encrypt(nonce, payload.SerializeToString(), name)
        return Payload(metadata={"encoding": ENCODING, KEY_ID: name}, data=nonce + sealed)

    def _decrypted(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415

        name = _key_of(payload)
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise PayloadUnreadable(
                f"a payload is encrypted with key {name!r:.80}, which this process does not "
                f"have: add it to TEMPORAL_PAYLOAD_KEYS, behind the one that encrypts ({self._current or _PLAIN!r})"
            )
        try:
            plain = cipher.decrypt(payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError):
            # The second of one that is shorter than what stands before the text.
            raise PayloadUnreadable(
                f"a payload does not decrypt with key {name!r}: another key has its name here, or it was changed"
            ) from None
        return Payload.FromString(plain)


class _Encrypted(EncodingPayloadConverter):
    """Names the key of a payload that this process has no keys for."""

    @property
    def encoding(self) -> str:
        """Of payloads that another process has encrypted."""
        return ENCODING.decode()

    def to_payload(self, value: Any) -> Payload | None:
        """Nothing: another converter's."""
        return None

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """Refuses it.

        Raises:
            PayloadUnreadable: Always.
        """
        raise _keyless(payload)


class _KeylessPayloadConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(*DefaultPayloadConverter.default_encoding_payload_converters, _Encrypted())


class _KeylessFailureConverter(DefaultFailureConverter):
    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        if failure.encoded_attributes.metadata.get("encoding") == ENCODING:
            # Its text says nothing, and would be taken for the failure's own.
            raise _keyless(failure.encoded_attributes)
        return super().from_failure(failure, payload_converter)


def _keyless(payload: Payload) -> PayloadUnreadable:
    return PayloadUnreadable(
        f"a payload is encrypted with key {_key_of(payload)!r:.80}, and this process has no keys: "
        "set TEMPORAL_PAYLOAD_KEYS"
    )


def _key_of(payload: Payload) -> str:
    return payload.metadata.get(KEY_ID, b"").decode("utf-8", "replace")


def encrypting(converter: DataConverter, keys: PayloadKeys) -> DataConverter:
    """The converter with encryption of payloads and of the texts of failures."""
    converter = replace(converter, payload_codec=AesGcmCodec(keys))
    if keys.current is None:
        return converter
    return replace(converter, failure_converter_class=DefaultFailureConverterWithEncodedAttributes)


def refusing(converter: DataConverter) -> DataConverter:
    """The converter of a process without keys; one that is not the SDK's own stays as it is.

    No codec, which each workflow task would have to wait for.
    """
    if converter != DataConverter.default:
        return converter
    return replace(
        converter,
        payload_converter_class=_KeylessPayloadConverter,
        failure_converter_class=_KeylessFailureConverter,
    )
