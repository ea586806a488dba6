"""A CA of a test's own, and what it signs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


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
