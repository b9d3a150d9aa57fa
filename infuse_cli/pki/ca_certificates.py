"""The certificates of the CA itself: root (pathlen 1) and intermediate (pathlen 0), P-256 with
SHA-256.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infuse_cli.errors import SignerError, UsageError
from infuse_cli.pki.serials import new_serial

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT_YEARS: Final = 20
INTERMEDIATE_YEARS: Final = 15
BACKDATED: Final = timedelta(days=1)
"""notBefore lies this far in the past, for boards and brokers whose clocks are slow."""

_MAX_NAME: Final = 40  # with its suffix it stays under 64 characters (RFC 5280, ub-common-name)


@dataclass(frozen=True, slots=True, repr=False)
class NewCa:
    """A CA just made: both keys and both certificates, nowhere on disk yet."""

    root_key: ec.EllipticCurvePrivateKey
    root: x509.Certificate
    intermediate_key: ec.EllipticCurvePrivateKey
    intermediate: x509.Certificate


def make_ca(name: str, now: datetime, key: ec.EllipticCurvePrivateKey | None = None) -> NewCa:
    """Make root and intermediate for a CA called `name`, the intermediate for `key` where one is
    given.

    Raises UsageError usage.bad-option for an unfit name.
    """
    check_name(name)
    root_key, key = (
        ec.generate_private_key(ec.SECP256R1()),
        key or ec.generate_private_key(ec.SECP256R1()),
    )
    subject = _common_name(f"{name} Root")
    root = _builder(
        subject, subject, root_key.public_key(), _start(now), _years(now, ROOT_YEARS), path_length=1
    ).sign(root_key, hashes.SHA256())
    return NewCa(
        root_key,
        root,
        key,
        intermediate_certificate(intermediate_name(name), key.public_key(), root, root_key, now),
    )


def check_name(name: str) -> None:
    """Raise UsageError usage.bad-option for a name that no certificate can bear."""
    if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        raise UsageError(
            "usage.bad-option",
            f"a CA name has 1 to {_MAX_NAME} printable characters, this one has {len(name)}",
        )


def intermediate_name(name: str) -> str:
    """Common name of the first intermediate of a CA."""
    return f"{name} Intermediate"


def intermediate_certificate(
    name: str,
    key: ec.EllipticCurvePublicKey,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    """An intermediate with this common name, signed by the root, which it does not outlive."""
    until = min(_years(now, INTERMEDIATE_YEARS), root.not_valid_after_utc)
    return (
        _builder(
            _common_name(name),
            root.subject,
            key,
            max(_start(now), root.not_valid_before_utc),
            until,
            path_length=0,
        )
        .add_extension(authority_key_id(root), critical=False)
        .sign(root_key, hashes.SHA256())
    )


def _start(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(microsecond=0) - BACKDATED


def _years(now: datetime, years: int) -> datetime:
    return now.astimezone(UTC).replace(microsecond=0) + timedelta(days=365.25 * years)


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    start: datetime,
    until: datetime,
    *,
    path_length: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(new_serial())
        .not_valid_before(start)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def key_usage(
    *, certificates: bool = False, allowed: Sequence[str] = ("digitalSignature",)
) -> x509.KeyUsage:
    """For a CA keyCertSign and cRLSign, else what is `allowed`: digitalSignature alone, or
    keyAgreement too.
    """
    return x509.KeyUsage(
        digital_signature=not certificates and "digitalSignature" in allowed,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=not certificates and "keyAgreement" in allowed,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def authority_key_id(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """The issuer's subject key id as it stands in the issuer's certificate (RFC 5280 §4.2.1.1)."""
    try:
        key_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        raise SignerError(
            "ca.corrupt", "the issuing certificate has no subject key identifier"
        ) from None
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)


def broken_link(chain: Sequence[x509.Certificate]) -> str | None:
    """Why these certificates (issuer first, root last) do not make a chain, None when they do.

    Looked at: names, signatures, CA flag, keyCertSign, path lengths. Dates are looked at elsewhere.
    """
    for depth, certificate in enumerate(chain):
        name = certificate.subject.rfc4514_string()
        parent = chain[min(depth + 1, len(chain) - 1)]
        try:
            certificate.verify_directly_issued_by(parent)
        except Exception:  # noqa: BLE001 - InvalidSignature, ValueError, TypeError: all say that it is not
            return f"{name} was not signed by {parent.subject.rfc4514_string()}"
        if (why := _not_a_ca(certificate, depth)) is not None:
            return f"{name} {why}"
    return None


def _not_a_ca(certificate: x509.Certificate, below: int) -> str | None:
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return "has no readable basic constraints and key usage"
    if not (basic.ca and usage.key_cert_sign):
        return "may not sign certificates"
    if basic.path_length is not None and basic.path_length < below:
        return f"allows {basic.path_length} CAs below it and has {below}"
    return None
