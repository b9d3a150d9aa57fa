"""Whether a certificate is what its profile says: used on what others issued as much as on our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from infuse_cli.pki.ca_certificates import key_usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.pki.certificate_profiles import CertificateProfile

    Check = Callable[[x509.Certificate, CertificateProfile], str | None]

E = TypeVar("E", bound=x509.ExtensionType)


def deviations(certificate: x509.Certificate, profile: CertificateProfile) -> tuple[str, ...]:
    """What is not as the profile says, in words; empty when all is."""
    try:
        found = [check(certificate, profile) for check in _CHECKS]
    except ValueError as error:
        return (f"it cannot be parsed: {error}",)
    return tuple(text for text in found if text is not None)


def _key(certificate: x509.Certificate, _profile: CertificateProfile) -> str | None:
    key = certificate.public_key()
    return None if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1) else "its key is not P-256"


def _subject(certificate: x509.Certificate, _profile: CertificateProfile) -> str | None:
    oids = [attribute.oid for attribute in certificate.subject]
    return None if oids == [x509.NameOID.COMMON_NAME] else "its subject is not one common name"


def _basic_constraints(certificate: x509.Certificate, _profile: CertificateProfile) -> str | None:
    found = _extension(certificate, x509.BasicConstraints)
    return "it is a CA" if found is not None and found.value.ca else None


def _key_usage(certificate: x509.Certificate, _profile: CertificateProfile) -> str | None:
    found = _extension(certificate, x509.KeyUsage)
    return None if found is not None and found.critical and found.value == key_usage() else "its key usage is not critical digitalSignature alone"


def _extended_key_usage(certificate: x509.Certificate, profile: CertificateProfile) -> str | None:
    found = _extension(certificate, x509.ExtendedKeyUsage)
    wanted = set(profile.extended_key_usage)
    return None if found is not None and set(found.value) == wanted else "its extended key usage is not the profile's"


def _no_san(certificate: x509.Certificate, _profile: CertificateProfile) -> str | None:
    return "it has a subject alternative name" if _extension(certificate, x509.SubjectAlternativeName) is not None else None


def _key_ids(certificate: x509.Certificate, _profile: CertificateProfile) -> str | None:
    missing = [kind.__name__ for kind in (x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier) if _extension(certificate, kind) is None]
    return f"it has no {' and no '.join(missing)}" if missing else None


def _extension(certificate: x509.Certificate, kind: type[E]) -> x509.Extension[E] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


_CHECKS: Final[tuple[Check, ...]] = (_key, _subject, _basic_constraints, _key_usage, _extended_key_usage, _no_san, _key_ids)
