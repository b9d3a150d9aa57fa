"""Chains of certificates: taking bundles apart, putting them in order, checking that they hold."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID, NameOID

from infuse_cli.certificate_files import UnfitFileError
from infuse_cli.errors import PolicyError, SignerError
from infuse_cli.pki.ca_certificates import broken_link
from infuse_cli.pki.reading import parsed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

_KNOWN: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)


def split_pem(text: str) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM bundle in the order given; text between them is ignored.

    Raises PolicyError identity.certificate-mismatch when there is none, one cannot be parsed, or
    there are over 16.
    """
    try:
        return parsed(text.encode())
    except UnfitFileError as error:
        raise _mismatch(f"the text {error.reason}") from None


def order(
    leaf: x509.Certificate, others: Iterable[x509.Certificate]
) -> tuple[x509.Certificate, ...]:
    """Leaf, its issuers upwards, and the root last where it is among them; what does not belong is
    left out.
    """
    ordered, left = [leaf], [other for other in others if other != leaf]
    while not is_self_issued(ordered[-1]):
        above = next((other for other in left if issued(ordered[-1], other)), None)
        if above is None:
            break
        ordered.append(above)
        left = [other for other in left if other != above]
    return tuple(ordered)


def board_bundle(leaf_pem: str, chain: Sequence[str]) -> str:
    """What goes onto the board as credential type 1: leaf, then intermediates, no root; LF, with a
    final LF.

    `chain` are PEM texts (each may be a bundle) in any order. Raises PolicyError
    identity.certificate-mismatch.
    """
    return _board_bundle(leaf_pem, tuple(chain))


@functools.lru_cache(
    maxsize=64
)  # asked before the write and for it: each time would check every signature again
def _board_bundle(leaf_pem: str, chain: tuple[str, ...]) -> str:
    leaf = split_pem(leaf_pem)[0]
    others = [certificate for text in chain if text.strip() for certificate in split_pem(text)]
    return pem_bundle(
        [leaf, *(above for above in order(leaf, others)[1:] if not is_self_issued(above))]
    )


def pem_bundle(certificates: Iterable[x509.Certificate]) -> str:
    """PEM texts one after another, LF, with a final LF."""
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)


def root_of(chain: Sequence[str]) -> str | None:
    """The self-issued certificate of a chain of PEM texts as PEM, None where there is none.

    It is credential type 0 of a board whose profile names no server CA.
    """
    found = [
        certificate
        for text in chain
        if text.strip()
        for certificate in split_pem(text)
        if is_self_issued(certificate)
    ]
    return pem_bundle(found[:1]) if found else None


def is_self_issued(certificate: x509.Certificate) -> bool:
    """Whether subject and issuer are the same: a root."""
    return certificate.subject == certificate.issuer


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether the certificate's basic constraints make it a CA."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False


def verify_chain(
    leaf: x509.Certificate,
    chain: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime,
) -> None:
    """Check signatures, CA rights, path lengths and dates from the leaf to one of the roots.

    Raises SignerError ca.verify-failed saying which link does not hold.
    """
    path = order(leaf, [*chain, *roots])
    if path[-1] not in roots:
        raise SignerError(
            "ca.verify-failed",
            f"no trusted root issued {path[-1].subject.rfc4514_string()}; its issuer is"
            f" {path[-1].issuer.rfc4514_string()}",
        )
    if len(path) > 1 and (why := broken_link(path[1:])) is not None:
        raise SignerError("ca.verify-failed", why)
    for certificate in path:
        _check_dates(certificate, now)
        _check_critical(certificate)


def spki_sha256_of(certificate: x509.Certificate) -> str:
    """SHA-256 hex of the certificate's SubjectPublicKeyInfo DER."""
    return hashlib.sha256(
        certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()


def spki_sha256_of_pem(pem: str) -> str:
    """`spki_sha256_of` the first certificate of a PEM text.

    Raises PolicyError identity.certificate-mismatch.
    """
    return _key_digest(split_pem(pem)[0])


def check_certificate_fits(
    cert_pem: str, spki_sha256: str, *, common_name: str | None = None, now: datetime | None = None
) -> x509.Certificate:
    """The first certificate of a PEM text, checked to be for this key, and for this CN and time
    where given.

    Raises PolicyError identity.certificate-mismatch.
    """
    certificate = split_pem(cert_pem)[0]
    if (found := _key_digest(certificate)) != spki_sha256:
        raise _mismatch(
            f"the certificate is for the key {found[:16]}…, the board's is {spki_sha256[:16]}…"
        )
    if common_name is not None and common_name not in (names := common_names(certificate)):
        raise _mismatch(
            f"the certificate is for {', '.join(names) or 'nobody'}, not for {common_name}"
        )
    if (
        now is not None
        and not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    ):
        raise _mismatch(
            f"the certificate is valid from {certificate.not_valid_before_utc:%Y-%m-%d} to"
            f" {certificate.not_valid_after_utc:%Y-%m-%d}, not now"
        )
    return certificate


def common_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The common names of the subject."""
    return tuple(
        str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    )


def issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's key signed the certificate under its name."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001 - InvalidSignature, ValueError, TypeError: all say no
        return False
    return True


def _key_digest(certificate: x509.Certificate) -> str:
    try:
        return spki_sha256_of(certificate)
    except Exception:  # noqa: BLE001 - an unsupported or broken key of a foreign certificate
        raise _mismatch("the certificate's public key cannot be parsed") from None


def _check_dates(certificate: x509.Certificate, now: datetime) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not start <= now <= end:
        raise SignerError(
            "ca.verify-failed",
            f"{certificate.subject.rfc4514_string()} is valid from {start:%Y-%m-%d %H:%M} to"
            f" {end:%Y-%m-%d %H:%M} UTC, and it is {now:%Y-%m-%d %H:%M}",
        )


def _check_critical(certificate: x509.Certificate) -> None:
    try:
        unknown = [
            extension.oid.dotted_string
            for extension in certificate.extensions
            if extension.critical and extension.oid not in _KNOWN
        ]
    except Exception:  # noqa: BLE001 - the parser's exceptions are not a closed set
        raise SignerError(
            "ca.verify-failed",
            f"{certificate.subject.rfc4514_string()} has extensions that cannot be parsed",
        ) from None
    if unknown:
        raise SignerError(
            "ca.verify-failed",
            f"{certificate.subject.rfc4514_string()} has unknown critical extensions:"
            f" {', '.join(unknown)}",
        )


def _mismatch(why: str) -> PolicyError:
    return PolicyError("identity.certificate-mismatch", why)
