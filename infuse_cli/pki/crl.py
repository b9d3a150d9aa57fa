"""Certificate revocation lists (RFC 5280 §5), version 2: complete, signed by the issuer itself.

The entries are written as DER here: the library's builder takes several seconds for 100,000 of
them. What comes out is read back with the library before it leaves.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from infuse_cli import der
from infuse_cli.errors import SignerError
from infuse_cli.pki.ca_certificates import authority_key_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from infuse_cli.ports import Signer

# What a person types -> (name in RFC 5280, CRLReason). `unspecified` is left out of the list, as
# the RFC wants it.
REASONS: Final[dict[str, tuple[str, int]]] = {
    "unspecified": ("unspecified", 0),
    "key-compromise": ("keyCompromise", 1),
    "ca-compromise": ("cACompromise", 2),
    "affiliation-changed": ("affiliationChanged", 3),
    "superseded": ("superseded", 4),
    "cessation-of-operation": ("cessationOfOperation", 5),
    "privilege-withdrawn": ("privilegeWithdrawn", 9),
}
_NUMBER_OF: Final = dict(REASONS.values())
_ECDSA_SHA256: Final = der.element(der.SEQUENCE, bytes.fromhex("06082a8648ce3d040302"))
_CRL_REASON: Final = bytes.fromhex("0603551d15")
_CRL_NUMBER: Final = bytes.fromhex("0603551d14")
_AUTHORITY_KEY_ID: Final = bytes.fromhex("0603551d23")
_ENUMERATED: Final = 0x0A
_BIT_STRING: Final = 0x03
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_EXPLICIT_0: Final = 0xA0
_V2: Final = der.integer(1)
_GENERALIZED_FROM: Final = 2050  # RFC 5280 §4.1.2.5


@dataclass(frozen=True, slots=True)
class Entry:
    """A revoked certificate: serial in lower-case hex, when (UTC), and the reason's name in RFC
    5280.
    """

    serial: str
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class MadeCrl:
    """A signed CRL as DER; `sha256` of it in lower-case hex."""

    der: bytes
    number: int
    this_update: datetime
    next_update: datetime
    entries: int

    @property
    def sha256(self) -> str:
        """SHA-256 of the DER, lower-case hex."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def pem(self) -> bytes:
        """The CRL as PEM."""
        return x509.load_der_x509_crl(self.der).public_bytes(Encoding.PEM)


def content_of(entries: Iterable[Entry]) -> str:
    """A digest by which two sets of entries are told apart, whatever their order."""
    lines = sorted(f"{entry.serial} {entry.at:%Y%m%d%H%M%S} {entry.reason}" for entry in entries)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def make_crl(
    signer: Signer, entries: Sequence[Entry], *, number: int, now: datetime, life: timedelta
) -> MadeCrl:
    """Sign a CRL with these entries; `number` goes up by one an issuer.

    `nextUpdate` never lies after the issuer's end. Raises SignerError ca.issuer-expired, ca.corrupt
    (the issuer may not sign CRLs, or what was signed does not verify).
    """
    issuer = signer.chain[0]
    now = now.astimezone(UTC).replace(microsecond=0)
    if not issuer.not_valid_before_utc <= now < issuer.not_valid_after_utc:
        raise SignerError(
            "ca.issuer-expired",
            f"{issuer.subject.rfc4514_string()} is valid from"
            f" {issuer.not_valid_before_utc:%Y-%m-%d} to {issuer.not_valid_after_utc:%Y-%m-%d}, and"
            f" this machine's clock says {now:%Y-%m-%d %H:%M} UTC",
        )
    until = min(now + life, issuer.not_valid_after_utc)
    body = _to_be_signed(issuer, entries, number, now, until)
    signature = signer.private_key.sign(body, ec.ECDSA(hashes.SHA256()))
    made = MadeCrl(
        der.element(der.SEQUENCE, body, _ECDSA_SHA256, der.element(_BIT_STRING, b"\0", signature)),
        number,
        now,
        until,
        len(entries),
    )
    _check(made, issuer, entries)
    return made


def _to_be_signed(
    issuer: x509.Certificate, entries: Sequence[Entry], number: int, now: datetime, until: datetime
) -> bytes:
    revoked = der.element(der.SEQUENCE, *map(_entry, entries)) if entries else b""
    key_id = der.element(
        der.SEQUENCE,
        _AUTHORITY_KEY_ID,
        der.element(der.OCTET_STRING, authority_key_id(issuer).public_bytes()),
    )
    counted = der.element(
        der.SEQUENCE, _CRL_NUMBER, der.element(der.OCTET_STRING, der.integer(number))
    )
    extensions = der.element(_EXPLICIT_0, der.element(der.SEQUENCE, key_id, counted))
    return der.element(
        der.SEQUENCE,
        _V2,
        _ECDSA_SHA256,
        issuer.subject.public_bytes(),
        _time(now),
        _time(until),
        revoked,
        extensions,
    )


def _entry(entry: Entry) -> bytes:
    """Short enough (a serial has at most 20 octets) for lengths of one octet."""
    digits = entry.serial if len(entry.serial) % 2 == 0 else f"0{entry.serial}"
    number = bytes.fromhex(digits).lstrip(b"\0") or b"\0"
    if number[0] & 0x80:
        number = b"\0" + number
    content = (
        bytes((der.INTEGER, len(number)))
        + number
        + _when_and_why(int(entry.at.timestamp()), entry.reason)
    )
    return bytes((der.SEQUENCE, len(content))) + content


@functools.lru_cache(maxsize=4096)  # many are revoked in the same second
def _when_and_why(moment: int, reason: str) -> bytes:
    at = datetime.fromtimestamp(moment, UTC)
    number = _NUMBER_OF[reason]
    if number == 0:
        return _time(at)
    why = der.element(
        der.SEQUENCE,
        _CRL_REASON,
        der.element(der.OCTET_STRING, der.element(_ENUMERATED, bytes([number]))),
    )
    return _time(at) + der.element(der.SEQUENCE, why)


def _time(when: datetime) -> bytes:
    when = when.astimezone(UTC)
    if when.year >= _GENERALIZED_FROM:
        return der.element(_GENERALIZED_TIME, f"{when:%Y%m%d%H%M%S}Z".encode())
    return der.element(_UTC_TIME, f"{when:%y%m%d%H%M%S}Z".encode())


def _check(made: MadeCrl, issuer: x509.Certificate, entries: Sequence[Entry]) -> None:
    """Green means read back: the list is what was meant before anybody has it."""
    key = issuer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)  # noqa: S101 - an issuer of ours
    read = x509.load_der_x509_crl(made.der)
    if not read.is_signature_valid(key) or len(read) != len(entries):
        raise SignerError(
            "ca.corrupt", "the CRL that was signed does not verify with the issuer's certificate"
        )
