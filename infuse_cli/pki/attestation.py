"""What the modem answers to `AT%KEYGEN` and `AT%ATTESTTOKEN`: `<body>.<COSE_Sign1>`, both base64url
without padding.

    COSE_Sign1 = 18([protected, unprotected, payload, signature])
    payload    = 55799([type, UUID 16 B, CBOR(sec_tag) in a byte string, SHA-256 of the body,
    nonce])

Type 9 is a CSR, 8 a public key. The COSE signature cannot be checked offline: what these
functions find is consistent, never attested. Source: the modem's AT reference, and the vectors of
the tests.

Guaranteed: `docs/reference/guarantees.md#consistent-never-attested`.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import re
import uuid as uuids
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import cbor2

from infuse_cli.errors import PolicyError

MAX_TEXT: Final = 8192
"""Most characters of an answer; the longest known one (with all attributes) has under 2,000."""

_MAX_COSE: Final = 1024  # bytes; known ones have 153
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")
_SELF_DESCRIBED: Final = b"\xd9\xd9\xf7"  # tag 55799
_COSE_SIGN1: Final = 18
_KEY_ID: Final = 4  # header parameter of COSE
_IDENTITY_MESSAGE: Final = 1


class MessageType(enum.IntEnum):
    """What the body of a key generation's answer is."""

    PUBLIC_KEY = 8
    CSR = 9


@dataclass(frozen=True, slots=True)
class Attestation:
    """The attested facts of a key generation.

    `uuid` in lower case with hyphens; `sec_tag` 0..2^32-1; `digest` is the SHA-256 of the body as
    the modem made it; `key_id` is -2 for the identity key, -4 and -5 for Nordic's base keys, None
    where none is named.
    """

    message: MessageType
    uuid: str
    sec_tag: int
    digest: bytes
    nonce: bytes
    key_id: int | None
    signature: bytes


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """The body of `AT%ATTESTTOKEN`.

    `device_type` 6 is an nRF9151 LACA, 1 to 3 are nRF9160 types, 4 nRF9161, 5 nRF9131.
    """

    uuid: str
    device_type: int
    firmware_uuid: str
    nonce: bytes


def split(text: str) -> tuple[bytes, bytes | None]:
    """Body and COSE part as bytes; the COSE part is None where the modem gave none.

    Raises PolicyError identity.csr-unreadable (body), identity.attestation-malformed (COSE part).
    """
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise PolicyError(
            "identity.csr-unreadable",
            f"the answer has {len(text)} characters, at most {MAX_TEXT} are read",
        )
    body, dot, cose = text.partition(".")
    raw = _base64url(body)
    if raw is None:
        raise PolicyError("identity.csr-unreadable", "the CSR is not base64url text")
    if not dot:
        return raw, None
    signed = _base64url(cose)
    if signed is None:
        raise _malformed("it is not base64url text")
    return raw, signed


def decode(cose: bytes) -> Attestation:
    """Decode the COSE part of a key generation.

    Raises PolicyError identity.attestation-malformed.
    """
    unprotected, payload, signature = _cose_sign1(cose)
    if not isinstance(payload, bytes) or not payload.startswith(_SELF_DESCRIBED):
        raise _malformed("its payload is not self-described CBOR")
    match _cbor(payload):
        case [int(message), bytes(uuid), bytes(tag), bytes(digest), bytes(nonce)] if (
            len(uuid) == 16 and len(digest) == 32
        ):
            return Attestation(
                _message_type(message),
                str(uuids.UUID(bytes=uuid)),
                _sec_tag(tag),
                digest,
                nonce,
                _key_id(unprotected),
                signature,
            )
        case _:
            raise _malformed("its payload is not [type, UUID, sec_tag, digest, nonce]")


def decode_identity_token(text: str) -> IdentityToken:
    """Decode an `AT%ATTESTTOKEN` answer, whose COSE payload is detached.

    Raises PolicyError identity.attestation-missing, identity.attestation-malformed,
    identity.csr-unreadable (no base64url text).
    """
    body, cose = split(text)
    if cose is None:
        raise PolicyError(
            "identity.attestation-missing", "the attestation token has no signature part"
        )
    if _cose_sign1(cose)[1] is not None or not body.startswith(_SELF_DESCRIBED):
        raise _malformed("it is no identity token")
    match _cbor(body):
        case [1, bytes(uuid), int(device_type), bytes(firmware), bytes(nonce)] if (
            len(uuid) == len(firmware) == 16
        ):
            return IdentityToken(
                str(uuids.UUID(bytes=uuid)), device_type, str(uuids.UUID(bytes=firmware)), nonce
            )
        case _:
            raise _malformed("it is not [1, UUID, device type, firmware UUID, nonce]")


def digest_of(body: bytes) -> bytes:
    """SHA-256 of the body as sent, which the modem puts into the payload."""
    return hashlib.sha256(body).digest()


def _malformed(why: str) -> PolicyError:
    return PolicyError("identity.attestation-malformed", f"the attestation cannot be parsed: {why}")


def _base64url(text: str) -> bytes | None:
    if _BASE64URL.fullmatch(text) is None or len(text) % 4 == 1:
        return None
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _cose_sign1(cose: bytes) -> tuple[Mapping[Any, Any], Any, bytes]:
    if len(cose) > _MAX_COSE:
        raise _malformed(f"it has {len(cose)} bytes, at most {_MAX_COSE} are read")
    tagged = _cbor(cose)
    if not isinstance(tagged, cbor2.CBORTag) or tagged.tag != _COSE_SIGN1:
        raise _malformed("it is not COSE_Sign1")
    match tagged.value:
        case [bytes(), Mapping() as unprotected, (bytes() | None) as payload, bytes(signature)] if (
            len(signature) == 64
        ):
            return unprotected, payload, signature
        case _:
            raise _malformed("it is not [protected, unprotected, payload, 64-byte signature]")


def _cbor(data: bytes) -> Any:
    """One CBOR item and nothing after it: decoded as the first of a pair whose second item has to
    come out whole.
    """
    try:
        value, end = cbor2.loads(b"\x82" + data + b"\x63end")
    except Exception:  # noqa: BLE001 - hostile input: whatever the decoder raises means the same
        raise _malformed("it is not CBOR") from None
    if end != "end":
        raise _malformed("something follows its end")
    return value


def _message_type(value: int) -> MessageType:
    try:
        return MessageType(value)
    except ValueError:
        raise _malformed(
            f"its message type {value} is neither a CSR (9) nor a public key (8)"
        ) from None


def _sec_tag(encoded: bytes) -> int:
    tag = _cbor(encoded)
    if not isinstance(tag, int) or isinstance(tag, bool) or not -(1 << 31) <= tag < 1 << 32:
        raise _malformed("its sec_tag is not a 32-bit number")
    return (
        tag if tag >= 0 else tag + (1 << 32)
    )  # tags above 2^31-1 come out of the modem as negative numbers


def _key_id(unprotected: Mapping[Any, Any]) -> int | None:
    encoded = unprotected.get(_KEY_ID)
    value = _cbor(encoded) if isinstance(encoded, bytes) else None
    return value if isinstance(value, int) else None
