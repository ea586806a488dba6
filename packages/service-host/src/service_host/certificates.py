"""Whether files hold what TLS needs, known before the first connection."""

from __future__ import annotations

import ssl
from pathlib import Path


def require_certificate(path: Path) -> None:
    """Does nothing for a PEM file with a certificate or several.

    Raises:
        ValueError: With what it is instead.
    """
    try:
        ssl.create_default_context(cadata=_text(path))
    except ssl.SSLError:
        raise ValueError("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)") from None


def require_pair(certificate: Path, key: Path) -> None:
    """Does nothing for a certificate and its own unencrypted key.

    Raises:
        ValueError: The key is none, or another certificate's.
    """
    if "PRIVATE KEY-----" not in _text(key):
        raise ValueError("holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError("is the key of another certificate than TEMPORAL_TLS_CERT") from None
        raise ValueError(
            f"cannot be used as a private key: {error.reason or error}; it must not be encrypted"
        ) from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("is no PEM file") from None
