"""Proof of possession: a JWT that the board signed with the sec_tag's key (`AT%JWT`, ES256)."""

from __future__ import annotations

import base64
import enum
import json
import re
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from infuse_cli.errors import PolicyError
from infuse_cli.pki.chain import split_pem

_MAX_TEXT: Final = 8192
_JWT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})")


class Possession(enum.Enum):
    """What a well-signed JWT proves; NOT_FRESH says that it was not made for this question."""

    PROVEN = "proven"
    NOT_FRESH = "not-fresh"


def verify_jwt(jwt: str, certificate_pem: str, *, subject: str, audience: str) -> Possession:
    """Check an ES256 JWT (raw r||s, 64 bytes) with the key of the certificate (the first of a
    bundle).

    PROVEN when it was signed by that key for this subject and audience (the audience carries the
    nonce). Raises PolicyError identity.possession-failed for a bad signature and for what is no
    ES256 JWT, identity.certificate-mismatch for what is no certificate.
    """
    key = split_pem(certificate_pem)[0].public_key()
    match = _JWT.fullmatch(jwt.strip()) if len(jwt) <= _MAX_TEXT else None
    if match is None:
        raise _failed("the answer is not a JWT with a 64-byte signature")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _failed("the certificate's key is not P-256")
    if _claims(match[1]).get("alg") != "ES256":
        raise _failed("the JWT is not signed with ES256")
    _check_signature(key, f"{match[1]}.{match[2]}".encode(), _decode(match[3]))
    claims = _claims(match[2])
    audiences = claims.get("aud")
    heard = audiences if isinstance(audiences, list) else [audiences]
    return (
        Possession.PROVEN
        if claims.get("sub") == subject and audience in heard
        else Possession.NOT_FRESH
    )


def _check_signature(key: ec.EllipticCurvePublicKey, signed: bytes, raw: bytes) -> None:
    signature = encode_dss_signature(
        int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    )
    try:
        key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise _failed("the JWT was not signed with the certificate's key") from None


def _claims(part: str) -> dict[str, Any]:
    try:
        claims = json.loads(_decode(part))
    except (ValueError, RecursionError):
        raise _failed("the JWT is not JSON") from None
    if not isinstance(claims, dict):
        raise _failed("the JWT's parts are not JSON objects")
    return claims


def _decode(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise _failed("the JWT is not base64url text") from None


def _failed(why: str) -> PolicyError:
    return PolicyError("identity.possession-failed", why)
