"""What a virtual modem signs: CSRs with their attestation, device tokens, JWTs.

A CSR's attestation is COSE_Sign1 over the self-described CBOR list
[9, uuid, CBOR(sec_tag), SHA-256(body), nonce], made with the board's identity key (key id -2).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from uuid import UUID

CSR_MESSAGE: Final = 9
PUBLIC_KEY_MESSAGE: Final = 8
IDENTITY_MESSAGE: Final = 1
DEFAULT_KEY_USAGE: Final = "111010000"
"""digitalSignature, nonRepudiation, keyEncipherment, keyAgreement: what real modems do when not
asked otherwise.
"""

_SELF_DESCRIBED: Final = b"\xd9\xd9\xf7"
_PROTECTED: Final = cbor2.dumps({1: -7})
_IDENTITY_KEY_ID: Final = cbor2.dumps(-2)
_NRF9151_LACA: Final = 6
_ECDSA_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")
_ECDSA_SHA256_NULL: Final = bytes.fromhex("300c06082a8648ce3d0403020500")
_OIDS: Final = {
    "CN": NameOID.COMMON_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "C": NameOID.COUNTRY_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
}


@dataclass(frozen=True, slots=True)
class CsrWish:
    """What a CSR is to hold.

    `attributes` as `CN=…,O=…`, `key_usage` nine bits; `fault` is one of faults.CSR_FAULTS.
    """

    attributes: str
    key_usage: str = DEFAULT_KEY_USAGE
    fault: str | None = None


def csr_der(key: ec.EllipticCurvePrivateKey, wish: CsrWish) -> bytes:
    """A CSR of this key in DER.

    Raises ValueError for attributes or key usage that make no sense.
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(wish.attributes))
    builder = builder.add_extension(_key_usage(wish.key_usage), critical=False)
    if wish.fault == "policy":
        builder = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
    der = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    match wish.fault:
        case "signature":
            return der[:-1] + bytes([der[-1] ^ 1])
        case "null":
            return with_null(der)
        case _:
            return der


def with_null(der: bytes) -> bytes:
    """The CSR with old firmware's NULL in its outer signature algorithm; its signature
    stays valid.
    """
    content = _content(der)
    at = content.rindex(_ECDSA_SHA256)
    return _sequence(content[:at] + _ECDSA_SHA256_NULL + content[at + len(_ECDSA_SHA256) :])


def without_null(der: bytes) -> bytes:
    """The CSR without that NULL, for parsers that refuse it; unchanged when there is none."""
    content = _content(der)
    at = content.rfind(_ECDSA_SHA256_NULL)
    return (
        der
        if at < 0
        else _sequence(content[:at] + _ECDSA_SHA256 + content[at + len(_ECDSA_SHA256_NULL) :])
    )


def message(
    body: bytes,
    identity: ec.EllipticCurvePrivateKey,
    uuid: UUID,
    tag: int,
    *,
    kind: int = CSR_MESSAGE,
    fault: str | None = None,
) -> str:
    """`<body>.<COSE_Sign1>` in base64url without padding: the text of a %KEYGEN answer."""
    stated = bytes(16) if fault == "uuid" else uuid.bytes
    digest = bytes(32) if fault == "digest" else hashlib.sha256(body).digest()
    stated_tag = cbor2.dumps(tag + 1 if fault == "tag" else tag)
    payload = _SELF_DESCRIBED + cbor2.dumps(
        [kind, stated, stated_tag, digest, secrets.token_bytes(16)]
    )
    return f"{b64url(body)}.{b64url(_cose(identity, payload))}"


def identity_message(identity: ec.EllipticCurvePrivateKey, uuid: UUID, nonce: bytes) -> str:
    """The text of an %ATTESTTOKEN answer: its COSE is detached, the body is the payload."""
    firmware = uuid_bytes("1aff3acb-f1a6-4764-a263-4c2646c1c654")
    body = _SELF_DESCRIBED + cbor2.dumps(
        [IDENTITY_MESSAGE, uuid.bytes, _NRF9151_LACA, firmware, nonce]
    )
    return f"{b64url(body)}.{b64url(_cose(identity, body, detached=True))}"


def jwt(key: ec.EllipticCurvePrivateKey, claims: dict[str, object]) -> str:
    """A compact ES256 JWT over the claims; `kid` is the SHA-256 of the public key in hex."""
    spki = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = {"typ": "JWT", "alg": "ES256", "kid": hashlib.sha256(spki).hexdigest()}
    signed = ".".join(
        b64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims)
    )
    return f"{signed}.{b64url(_raw_signature(key, signed.encode()))}"


def b64url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def uuid_bytes(text: str) -> bytes:
    """The 16 bytes of a UUID text."""
    return bytes.fromhex(text.replace("-", ""))


def _cose(identity: ec.EllipticCurvePrivateKey, payload: bytes, *, detached: bool = False) -> bytes:
    signed = cbor2.dumps(["Signature1", _PROTECTED, b"", payload])
    parts = [
        _PROTECTED,
        {4: _IDENTITY_KEY_ID},
        None if detached else payload,
        _raw_signature(identity, signed),
    ]
    return cbor2.dumps(cbor2.CBORTag(18, parts))


def _raw_signature(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _subject(attributes: str) -> x509.Name:
    pairs = [part.partition("=")[::2] for part in attributes.split(",")]
    if any(name not in _OIDS or not value for name, value in pairs):
        raise ValueError("unknown attribute")
    return x509.Name([x509.NameAttribute(_OIDS[name], value) for name, value in pairs])


def _key_usage(bits: str) -> x509.KeyUsage:
    if not re.fullmatch("[01]{9}", bits):
        raise ValueError("key usage is nine bits")
    return x509.KeyUsage(*(bit == "1" for bit in bits))


def _content(der: bytes) -> bytes:
    size = der[1] & 0x7F if der[1] & 0x80 else 0
    return der[2 + size :]


def _sequence(content: bytes) -> bytes:
    size = len(content)
    length = (
        bytes([size])
        if size < 0x80
        else (b"\x81" + bytes([size]) if size < 0x100 else b"\x82" + size.to_bytes(2, "big"))
    )
    return b"\x30" + length + content
