"""Whether a certificate is what its profile says, point by point: for what others issued as much as
for our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from infuse_cli.pki.ca_certificates import key_usage
from infuse_cli.pki.certificate_profiles import EXTENDED_KEY_USAGES, SUBJECT
from infuse_cli.pki.known_keys import known

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.pki.certificate_profiles import CertificateProfile

E = TypeVar("E", bound=x509.ExtensionType)

_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384"}
_KINDS: Final = {oid: kind for kind, oid in SUBJECT.items()}
_USAGES: Final = {oid: name for name, oid in EXTENDED_KEY_USAGES.items()}
_SERIAL_BITS: Final = 64  # of randomness at least, so a serial of ours has more
_SERIAL_OCTETS: Final = 20


@dataclass(frozen=True, slots=True)
class Point:
    """One thing looked at: what was found, what the profile or RFC 5280 wants, and whether that is
    the same.
    """

    what: str
    found: str
    wanted: str
    ok: bool


def points(certificate: x509.Certificate, profile: CertificateProfile) -> tuple[Point, ...]:
    """Every point of a certificate beside its profile.

    What cannot be parsed is a point that is not right.
    """
    found = []
    for what, check in _CHECKS.items():
        try:
            found.append(check(certificate, profile))
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            found.append(
                Point(what, f"cannot be parsed: {error}", "something that can be parsed", ok=False)
            )
    return tuple(found)


def deviations(certificate: x509.Certificate, profile: CertificateProfile) -> tuple[str, ...]:
    """What is not as the profile says, in words; empty when all is."""
    return tuple(
        f"its {point.what} is {point.found}, not {point.wanted}"
        for point in points(certificate, profile)
        if not point.ok
    )


def _key(certificate: x509.Certificate, profile: CertificateProfile) -> Point:
    key = certificate.public_key()
    name = (
        _CURVES.get(key.curve.name, key.curve.name)
        if isinstance(key, ec.EllipticCurvePublicKey)
        else type(key).__name__
    )
    why = (
        known(key)
        if isinstance(key, ec.EllipticCurvePublicKey) and name in profile.curves
        else None
    )
    return Point(
        "public key",
        name if why is None else f"{name}, and {why}",
        " or ".join(profile.curves),
        name in profile.curves and why is None,
    )


def _signature(certificate: x509.Certificate, _profile: CertificateProfile) -> Point:
    name = (
        certificate.signature_hash_algorithm.name
        if certificate.signature_hash_algorithm
        else "none"
    )
    return Point("signature's hash", name, "sha256 or sha384", name in {"sha256", "sha384"})


def _serial(certificate: x509.Certificate, _profile: CertificateProfile) -> Point:
    number = certificate.serial_number
    octets = number.bit_length() // 8 + 1
    return Point(
        "serial number",
        f"{number:x}",
        f"positive, over {_SERIAL_BITS} bits, at most {_SERIAL_OCTETS} octets",
        number.bit_length() > _SERIAL_BITS and octets <= _SERIAL_OCTETS,
    )


def _subject(certificate: x509.Certificate, profile: CertificateProfile) -> Point:
    kinds = [
        _KINDS.get(attribute.oid, attribute.oid.dotted_string) for attribute in certificate.subject
    ]
    wanted = [kind for kind, _ in profile.subject]
    allowed = all(
        (pattern := profile.allow.get(kind)) is None
        or pattern.fullmatch(str(attribute.value)) is not None
        for kind, attribute in zip(kinds, certificate.subject, strict=True)
    )
    told = f"{', '.join(wanted)}{' of the allow-list' if profile.allow else ''}"
    return Point(
        "subject",
        certificate.subject.rfc4514_string() or "empty",
        told,
        kinds == wanted and allowed,
    )


def _validity(certificate: x509.Certificate, profile: CertificateProfile) -> Point:
    days = (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days
    most = profile.validity_days + profile.backdated.days
    return Point(
        "validity",
        f"{certificate.not_valid_before_utc:%Y-%m-%d} to"
        f" {certificate.not_valid_after_utc:%Y-%m-%d}, {days} days",
        f"at most {most} days",
        0 <= days <= most,
    )


def _basic_constraints(certificate: x509.Certificate, _profile: CertificateProfile) -> Point:
    found = _extension(certificate, x509.BasicConstraints)
    return Point(
        "basic constraints",
        "a CA" if found is not None and found.value.ca else "no CA",
        "no CA",
        found is None or not found.value.ca,
    )


def _key_usage(certificate: x509.Certificate, profile: CertificateProfile) -> Point:
    found = _extension(certificate, x509.KeyUsage)
    text = (
        "missing"
        if found is None
        else f"{'' if found.critical else 'not '}critical {_usage_names(found.value)}"
    )
    return Point(
        "key usage",
        text,
        f"critical {', '.join(profile.key_usage)}",
        found is not None
        and found.critical
        and found.value == key_usage(allowed=profile.key_usage),
    )


def _usage_names(usage: x509.KeyUsage) -> str:
    names = {
        "digitalSignature": usage.digital_signature,
        "nonRepudiation": usage.content_commitment,
        "keyEncipherment": usage.key_encipherment,
        "dataEncipherment": usage.data_encipherment,
        "keyAgreement": usage.key_agreement,
        "keyCertSign": usage.key_cert_sign,
        "cRLSign": usage.crl_sign,
    }
    return ", ".join(name for name, given in names.items() if given) or "nothing"


def _extended_key_usage(certificate: x509.Certificate, profile: CertificateProfile) -> Point:
    found = _extension(certificate, x509.ExtendedKeyUsage)
    names = (
        "missing"
        if found is None
        else ", ".join(_USAGES.get(oid, oid.dotted_string) for oid in found.value)
    )
    wanted = ", ".join(_USAGES[oid] for oid in profile.extended_key_usage)
    return Point(
        "extended key usage",
        names,
        wanted,
        found is not None and set(found.value) == set(profile.extended_key_usage),
    )


def _alternative_names(certificate: x509.Certificate, profile: CertificateProfile) -> Point:
    found = _extension(certificate, x509.SubjectAlternativeName)
    names = [] if found is None else [f"{_kind(name)}:{name.value}" for name in found.value]
    kinds = {kind for kind, _ in profile.san} | set(profile.caller_san)
    fits = all(
        kind in kinds
        and ((pattern := profile.allow.get(kind)) is None or pattern.fullmatch(text) is not None)
        for kind, _, text in (name.partition(":") for name in names)
    )
    return Point(
        "subject alternative name",
        ", ".join(names) or "none",
        f"of {', '.join(sorted(kinds))}" if kinds else "none",
        fits and bool(names) >= bool(profile.san),
    )


def _kind(name: x509.GeneralName) -> str:
    match name:
        case x509.DNSName():
            return "dns"
        case x509.IPAddress():
            return "ip"
        case x509.UniformResourceIdentifier():
            return "uri"
        case x509.RFC822Name():
            return "email"
        case _:
            return type(name).__name__


def _key_ids(certificate: x509.Certificate, _profile: CertificateProfile) -> Point:
    of = {
        "subject": _extension(certificate, x509.SubjectKeyIdentifier),
        "authority": _extension(certificate, x509.AuthorityKeyIdentifier),
    }
    there = [name for name, found in of.items() if found is not None]
    return Point(
        "key identifiers",
        " and ".join(there) or "none",
        "subject and authority",
        len(there) == len(of),
    )


def _extension(certificate: x509.Certificate, kind: type[E]) -> x509.Extension[E] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


_CHECKS: Final[dict[str, Callable[[x509.Certificate, CertificateProfile], Point]]] = {
    "public key": _key,
    "signature's hash": _signature,
    "serial number": _serial,
    "subject": _subject,
    "validity": _validity,
    "basic constraints": _basic_constraints,
    "key usage": _key_usage,
    "extended key usage": _extended_key_usage,
    "subject alternative name": _alternative_names,
    "key identifiers": _key_ids,
}
