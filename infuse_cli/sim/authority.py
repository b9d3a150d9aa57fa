"""The virtual cloud's own CA: signs for /devices/provision, and is what the broker's certificate
hangs on.
"""

from __future__ import annotations

import base64
import ipaddress
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infuse_cli.sim.attest import without_null

_BACKDATE: Final = timedelta(hours=1)
_Extensions = list[tuple[x509.ExtensionType, bool]]


class BadCsr(ValueError):  # noqa: N818 - it is an answer, not a fault of the program
    """The CSR can't be parsed, its signature is wrong or its key isn't P-256."""


@dataclass(frozen=True, slots=True)
class _Issuer:
    name: x509.Name
    key: ec.EllipticCurvePrivateKey

    def issue(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, extensions: _Extensions, days: int
    ) -> x509.Certificate:
        now = datetime.now(UTC).replace(microsecond=0)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(int.from_bytes(secrets.token_bytes(16), "big") >> 1)
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA256())


class Authority:
    """Root and intermediate on P-256, made at the start, gone at the end."""

    def __init__(self) -> None:
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._key = ec.generate_private_key(ec.SECP256R1())
        names = _name("Simulated Cloud Root"), _name("Simulated Cloud Issuing")
        root, issuing = _Issuer(names[0], self._root_key), _Issuer(names[1], self._key)
        self._issuing: Final = issuing
        self.root: Final = root.issue(names[0], self._root_key.public_key(), _ca(None), 3660)
        self.intermediate: Final = root.issue(names[1], self._key.public_key(), _ca(0), 3655)

    @property
    def root_pem(self) -> str:
        """The root in PEM."""
        return pem(self.root)

    @property
    def chain(self) -> list[str]:
        """Intermediate, then root, in PEM."""
        return [pem(self.intermediate), pem(self.root)]

    def sign(self, csr_pem: str, common_name: str) -> x509.Certificate:
        """A client certificate for the CSR's key. Raises BadCsr."""
        return self._issuing.issue(
            _name(common_name), csr_key(csr_pem), _leaf(ExtendedKeyUsageOID.CLIENT_AUTH), 3650
        )

    def server(self) -> tuple[str, str]:
        """(certificate with chain, key) in PEM for a server on the loopback address."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        extensions = [*_leaf(ExtendedKeyUsageOID.SERVER_AUTH), (names, False)]
        leaf = self._issuing.issue(_name("localhost"), key.public_key(), extensions, 90)
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return pem(leaf) + pem(self.intermediate), secret.decode()


def pem(certificate: x509.Certificate) -> str:
    """A certificate in PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def csr_key(csr_pem: str) -> ec.EllipticCurvePublicKey:
    """The P-256 key of a CSR whose own signature was checked; old modems' NULL is forgiven.

    Raises BadCsr.
    """
    lines = csr_pem.strip().splitlines()
    if len(lines) < 3 or "CERTIFICATE REQUEST" not in lines[0]:
        raise BadCsr("csr is not a PEM certificate request")
    try:
        der = without_null(b64_lines(lines[1:-1]))
        csr = x509.load_der_x509_csr(der)
        key = csr.public_key()
        valid = csr.is_signature_valid
    except (ValueError, IndexError, InvalidSignature):
        raise BadCsr("csr cannot be parsed") from None
    if (
        not valid
        or not isinstance(key, ec.EllipticCurvePublicKey)
        or not isinstance(key.curve, ec.SECP256R1)
    ):
        raise BadCsr("csr is not signed by a P-256 key of its own")
    return key


def b64_lines(lines: list[str]) -> bytes:
    """Base64 of PEM lines. Raises ValueError."""
    return base64.b64decode("".join(lines), validate=True)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _ca(path_length: int | None) -> _Extensions:
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    return [(x509.BasicConstraints(ca=True, path_length=path_length), True), (usage, True)]


def _leaf(purpose: x509.ObjectIdentifier) -> _Extensions:
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage, True),
        (x509.ExtendedKeyUsage([purpose]), False),
    ]
