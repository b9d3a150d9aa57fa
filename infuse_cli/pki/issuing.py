"""Making certificates: pure but for the signature itself.

Nothing is taken from a CSR but its public key. The caller has reserved the serial before,
and lets the certificate leave only after it is on record.

Guaranteed: `docs/reference/guarantees.md#what-a-certificate-says`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import NameOID

from infuse_cli.clock import read_clock
from infuse_cli.errors import PolicyError, SignerError
from infuse_cli.pki.ca_certificates import authority_key_id, key_usage
from infuse_cli.pki.names import alternatives, subject_of
from infuse_cli.pki.serials import new_serial, serial_hex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from infuse_cli.pki.certificate_profiles import CertificateProfile
    from infuse_cli.ports import Signer
    from infuse_cli.records import CertificateRecord

__all__ = [
    "IssuedCertificate",
    "LeafCertificateBuilder",
    "check_clock",
    "check_issuer",
    "describe",
    "is_revoked",
    "issue",
    "issuer_id",
    "new_serial",
    "of_record",
    "serial_hex",
]

_MAX_DAYS: Final = 100_000  # beyond any issuer's life, within what a timedelta holds
_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384"}


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate and what the journal records of it.

    `serial` lower-case hex; `sha256` of the DER, `issuer` SHA-256 of the issuing certificate's DER,
    `spki_sha256` of the SubjectPublicKeyInfo, all lower-case hex; times UTC; `name` is its common
    name.
    """

    pem: str
    sha256: str
    serial: str
    issuer: str
    spki_sha256: str
    not_before: datetime
    not_after: datetime
    name: str = ""


def issuer_id(signer: Signer) -> str:
    """SHA-256 hex of the issuing certificate's DER, under which serials are reserved."""
    return _facts(signer.chain[0]).sha256


def issue(
    signer: Signer,
    *,
    spki_der: bytes,
    common_name: str,
    serial: int,
    profile: CertificateProfile,
    now: datetime,
    validity_days: int,
    values: Mapping[str, str] | None = None,
    names: Sequence[tuple[str, str]] = (),
) -> IssuedCertificate:
    """Sign one certificate for a public key, as `LeafCertificateBuilder.issue` does."""
    builder = LeafCertificateBuilder(signer, profile, now, validity_days)
    return builder.issue(spki_der, serial, {**(values or {}), "name": common_name}, names)


class LeafCertificateBuilder:
    """Makes certificates of one profile at one moment: what they have in common is worked out once.

    They never outlive their issuer nor begin before it. Raises SignerError ca.issuer-expired.
    """

    def __init__(
        self, signer: Signer, profile: CertificateProfile, now: datetime, validity_days: int
    ) -> None:
        self._signer: Final = signer
        self._profile: Final = profile
        self._not_before, self._not_after = _validity(signer, profile, now, validity_days)
        self._issuer: Final = _facts(signer.chain[0])
        self._own: Final = frozenset(_facts(certificate).spki for certificate in signer.chain)
        self._common: Final = (
            x509.CertificateBuilder()
            .issuer_name(signer.chain[0].subject)
            .not_valid_before(self._not_before)
            .not_valid_after(self._not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(allowed=profile.key_usage), critical=True)
            .add_extension(x509.ExtendedKeyUsage(profile.extended_key_usage), critical=False)
        )

    def issue(
        self,
        spki_der: bytes,
        serial: int,
        values: Mapping[str, str],
        names: Sequence[tuple[str, str]] = (),
    ) -> IssuedCertificate:
        """Sign a certificate for a public key.

        `values` fill the profile's variables, `name` always among them; `names` are alternative
        names asked for, as (kind, text). Raises PolicyError identity.csr-policy (the key is not of
        an allowed curve, a name does not fit the profile), identity.weak-key (it is the CA's own).
        """
        key = _public_key(spki_der, self._profile)
        if spki_der in self._own:
            raise PolicyError("identity.weak-key", "the public key is the CA's own")
        subject, alternative = (
            subject_of(self._profile, values),
            alternatives(self._profile, values, names),
        )
        builder = self._common.subject_name(subject).public_key(key).serial_number(serial)
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key), critical=False
        ).add_extension(self._issuer.key_id, critical=False)
        if alternative is not None:
            builder = builder.add_extension(alternative, critical=False)
        return self._described(
            builder.sign(self._signer.private_key, hashes.SHA256()), spki_der, serial, subject
        )

    def _described(
        self, certificate: x509.Certificate, spki: bytes, serial: int, subject: x509.Name
    ) -> IssuedCertificate:
        """As `describe`, of what is known here already."""
        encoded = certificate.public_bytes(Encoding.DER)
        return IssuedCertificate(
            pem=_pem(encoded),
            sha256=_sha256(encoded),
            serial=serial_hex(serial),
            issuer=self._issuer.sha256,
            spki_sha256=_sha256(spki),
            not_before=self._not_before,
            not_after=self._not_after,
            name=_common_name(subject),
        )


@dataclass(frozen=True, slots=True)
class _Issuer:
    """What is asked of an issuing certificate for each that it signs."""

    sha256: str
    spki: bytes
    key_id: x509.AuthorityKeyIdentifier


@functools.lru_cache(maxsize=32)
def _facts(issuer: x509.Certificate) -> _Issuer:
    spki = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return _Issuer(_sha256(issuer.public_bytes(Encoding.DER)), spki, authority_key_id(issuer))


def _pem(encoded: bytes) -> str:
    text = base64.b64encode(encoded).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def describe(certificate: x509.Certificate, issuer: x509.Certificate) -> IssuedCertificate:
    """What the journal records of a certificate, also of one that another CA made."""
    encoded = certificate.public_bytes(Encoding.DER)
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return IssuedCertificate(
        pem=_pem(encoded),
        sha256=_sha256(encoded),
        serial=serial_hex(certificate.serial_number),
        issuer=_facts(issuer).sha256,
        spki_sha256=_sha256(spki),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        name=_common_name(certificate.subject),
    )


def of_record(one: CertificateRecord) -> IssuedCertificate:
    """A certificate as it stands in the journal."""
    return IssuedCertificate(
        pem=one.pem,
        sha256=one.sha256,
        serial=one.serial,
        issuer=one.issuer,
        spki_sha256=one.spki_sha256,
        not_before=one.not_before,
        not_after=one.not_after,
        name=one.name or "",
    )


def _common_name(subject: x509.Name) -> str:
    found = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def check_clock(now: datetime, server_offset_s: float | None, newest: datetime | None) -> None:
    """Nothing is signed while the clock is wrong. Raises SignerError ca.clock.

    `server_offset_s` is the server's Date minus this machine's clock in seconds; `newest` the time
    of the newest record that was written under a clock that agreed with a server's. None skips a
    check.
    """
    read_clock(now, server_offset_s, newest).check()


def check_issuer(signer: Signer, revoked: Callable[[str, str], bool]) -> None:
    """An intermediate that was revoked signs nothing more. Raises SignerError ca.issuer-revoked.

    `revoked` is the journal's, of a serial and the SHA-256 of the certificate that issued it.
    """
    if is_revoked(signer.chain, revoked):
        raise SignerError(
            "ca.issuer-revoked", f"{signer.chain[0].subject.rfc4514_string()} was revoked"
        )


def is_revoked(chain: Sequence[x509.Certificate], revoked: Callable[[str, str], bool]) -> bool:
    """Whether the first certificate of a chain is, by `revoked` as `check_issuer` takes it,
    revoked.
    """
    return len(chain) > 1 and revoked(serial_hex(chain[0].serial_number), _facts(chain[1]).sha256)


def _validity(
    signer: Signer, profile: CertificateProfile, now: datetime, days: int
) -> tuple[datetime, datetime]:
    now = now.astimezone(UTC).replace(microsecond=0)
    begin = max(certificate.not_valid_before_utc for certificate in signer.chain)
    end = min(certificate.not_valid_after_utc for certificate in signer.chain)
    if not begin <= now < end:
        raise SignerError(
            "ca.issuer-expired",
            f"the issuing chain is valid from {_utc(begin)} to {_utc(end)}, this machine's clock"
            f" says {_utc(now)}",
        )
    wanted = timedelta(days=min(max(days, 1), _MAX_DAYS))
    return max(now - profile.backdated, begin), end if end - now < wanted else now + wanted


def _public_key(spki_der: bytes, profile: CertificateProfile) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(spki_der)
    except Exception:  # noqa: BLE001 - the parser's exceptions are not a closed set
        raise PolicyError("identity.csr-policy", "the public key cannot be parsed") from None
    if (
        not isinstance(key, ec.EllipticCurvePublicKey)
        or _CURVES.get(key.curve.name) not in profile.curves
    ):
        raise PolicyError(
            "identity.csr-policy", f"the public key is not {' or '.join(profile.curves)}"
        )
    return key


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _utc(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
