"""A modem as vetting sees it: a key, a CSR, and the COSE part around it, each of which can be made
wrong.
"""

from __future__ import annotations

import base64
import hashlib
import uuid as uuids
from dataclasses import dataclass, field
from pathlib import Path

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from infuse_cli import der

DEVICE_ID = "00112233aabbccdd"
UUID = "50363154-3931-44f0-8022-121b6401627d"
ALGORITHM = bytes.fromhex("300a06082a8648ce3d040302")
ALGORITHM_NULL = bytes.fromhex("300c06082a8648ce3d0403020500")

KEYGEN = (
    "MIIBCjCBrwIBADAvMS0wKwYDVQQDDCQ1MDM2MzE1NC0zOTMxLTQ0ZjAtODAyMi0xMjFiNjQwMTYyN2QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQqD6pNfa29"
    "o_EXnw62bnQWr8-JqsNh_HZxS3k3bMD4KZ8-qxnvgeoiqQ5zAycEP_Wcmzqypvwyf3qWMrZ2VB5aoB4wHAYJKoZIhvcNAQkOMQ8wDTALBgNVHQ8EBAMCA-gwDAYI"
    "KoZIzj0EAwIFAANIADBFAiEAv7OLZ_dXbszfhhjcLMUT72wTmw-z6GlgWxVhyWgR27ACIAvY_lPu3yfYZY5AL6uYTkUFp4GQkbSOUC_lsHyCxOuG.0oRDoQEmoQR"
    "BIVhL2dn3hQlQUDYxVDkxRPCAIhIbZAFifUERWCBwKj1W8FsvclMdZQgl4gBB4unZMYw0toU6uQZuXHLoDFAbhyLuHetYFWbiyxNZsnzSWEDUiTl7wwFt0hEsCiE"
    "Qsxj-hCtpBk8Za8UXfdAycpx2faCOPJIrkfmiSS8-Y6_2tTAoAMN1BiWiTOimY1wZE3Ud"
)
"""A published answer of a real modem to AT%KEYGEN=17,2,0, with the NULL of its firmware."""

ATTESTTOKEN = (
    "2dn3hQFQUDYxVDkxRPCAIhIbZAFifQNQGv86y_GmR2SiY0wmRsHGVFDT791_BPH8YOWFiyCHND1q.0oRDoQEmoQRBIfZYQGuXwJliinHc6xDPruiyjsaXyXZbZVp"
    "UuOhHG9YS8L05VuglCcJhMN4EUhWVGpaHgNnHHno6ahi-d5tOeZmAcNY"
)


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Modem:
    uuid: str = UUID
    sec_tag: int = 4201
    common_name: str | None = None
    curve: ec.EllipticCurve = field(default_factory=ec.SECP256R1)

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(self.curve)

    @property
    def spki(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def csr(
        self,
        *extensions: x509.ExtensionType,
        null: bool = False,
        attributes: tuple = (),
        subject: x509.Name | None = None,
    ) -> bytes:
        name = subject or x509.Name(
            [x509.NameAttribute(x509.NameOID.COMMON_NAME, self.common_name or self.uuid)]
        )
        builder = x509.CertificateSigningRequestBuilder().subject_name(name)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        for oid, value in attributes:
            builder = builder.add_attribute(oid, value)
        made = builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)
        return with_null(made) if null else made

    def cose(
        self,
        body: bytes,
        *,
        digest: bytes | None = None,
        message: int = 9,
        uuid: str | None = None,
        tag: bytes | None = None,
        signature: bytes = b"\x5a" * 64,
    ) -> bytes:
        items = [
            message,
            uuids.UUID(uuid or self.uuid).bytes,
            cbor2.dumps(self.sec_tag) if tag is None else tag,
            hashlib.sha256(body).digest() if digest is None else digest,
            b"\x01" * 16,
        ]
        payload = b"\xd9\xd9\xf7" + cbor2.dumps(items)
        return cbor2.dumps(cbor2.CBORTag(18, [b"\xa1\x01\x26", {4: b"\x21"}, payload, signature]))

    def keygen(self, body: bytes | None = None, **wrong) -> str:
        body = self.csr() if body is None else body
        return f"{b64url(body)}.{b64url(self.cose(body, **wrong))}"


def with_null(csr: bytes) -> bytes:
    """The request as older modem firmware writes it."""
    start, _ = der.extent(csr, 0)
    _, end = der.extent(csr, start)
    assert csr[end:].startswith(ALGORITHM)
    return der.element(der.SEQUENCE, csr[start:end], ALGORITHM_NULL, csr[end + len(ALGORITHM) :])


def request(folder: Path, modem: Modem, name: str = "device.csr") -> Path:
    text = base64.encodebytes(modem.csr()).decode()
    path = folder / name
    path.write_text(
        f"-----BEGIN CERTIFICATE REQUEST-----\n{text}-----END CERTIFICATE REQUEST-----\n"
    )
    return path
