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
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes, PayloadCodec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ENCODING: Final = b"binary/encrypted"
KEY_ID: Final = "encryption-key-id"
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_KEY_NAME: Final = re.compile(r"^[A-Za-z0-9._-]{1,64}$")


class PayloadUnreadable(Exception):
    """Indicates a payload that no key of this process decrypts."""


def parse_keys(text: str) -> Mapping[str, bytes]:
    """Reads `name:base64,name:base64`; the first is the one that encrypts.

    Raises:
        ValueError: Says which entry is wrong, by its place and never by its value.
    """
    keys: dict[str, bytes] = {}
    for number, entry in enumerate(text.split(","), 1):
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
    return keys


class AesGcmCodec(PayloadCodec):
    """Encrypts with the first of its keys.

    Args:
        keys: 32 bytes each, by name.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        # Loaded here, so that a process without keys does not carry it.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        self._ciphers: Mapping[str, AESGCM] = {name: AESGCM(key) for name, key in keys.items()}
        self._current = next(iter(keys))

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Every payload encrypted, its metadata included."""
        return [self._encrypted(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Every payload as it was.

        Raises:
            PayloadUnreadable: Its key is not ours, or it was changed.
        """
        return [self._decrypted(payload) for payload in payloads]

    def _encrypted(self, payload: Payload) -> Payload:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        name = self._current.encode()
        sealed = self._ciphers[self._current].encrypt(nonce, payload.SerializeToString(), name)
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
                f"have: add it to TEMPORAL_PAYLOAD_KEYS, behind the one that encrypts ({self._current!r})"
            )
        try:
            plain = cipher.decrypt(payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError):
            # The second of one that is shorter than what stands before the text.
            raise PayloadUnreadable(
                f"a payload does not decrypt with key {name!r}: another key has its name here, or it was changed"
            ) from None
        return Payload.FromString(plain)


class KeylessCodec(PayloadCodec):
    """Of a process without keys: passes payloads on, and refuses those that another one has encrypted.

    The SDK itself drops a signal that it cannot read, and takes an encrypted failure for one of that text.
    """

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Every payload as it is."""
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Every payload as it is.

        Raises:
            PayloadUnreadable: One is encrypted.
        """
        for payload in payloads:
            if payload.metadata.get("encoding") == ENCODING:
                raise PayloadUnreadable(
                    f"a payload is encrypted with key {_key_of(payload)!r:.80}, and this process has no keys: "
                    "set TEMPORAL_PAYLOAD_KEYS"
                )
        return list(payloads)


def _key_of(payload: Payload) -> str:
    return payload.metadata.get(KEY_ID, b"").decode("utf-8", "replace")


def encrypting(converter: DataConverter, keys: Mapping[str, bytes]) -> DataConverter:
    """The converter with encryption of payloads and of the texts of failures."""
    return replace(
        converter,
        payload_codec=AesGcmCodec(keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


def refusing(converter: DataConverter) -> DataConverter:
    """The converter of a process without keys; one that has a codec of its own stays as it is."""
    return converter if converter.payload_codec is not None else replace(converter, payload_codec=KeylessCodec())
