"""Whether a board's CSR may be signed: every check, in a fixed order, each with its own code.

On the bytes as sent: digest of the attestation, UUID, sec_tag. Then the CSR's own signature, then
policy. That the key is new is the journal's to know and the line's to ask.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import (
    ExtendedKeyUsageOID,
    NameOID,
    ObjectIdentifier,
    SignatureAlgorithmOID,
)

from infuse_cli import certificate_files, der
from infuse_cli.errors import PolicyError
from infuse_cli.pki import attestation
from infuse_cli.pki.csr import without_null
from infuse_cli.pki.known_keys import known

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CURVES: Final[dict[str, str]] = {"P-256": "secp256r1", "P-384": "secp384r1"}
_EXTENSION_REQUEST: Final = ObjectIdentifier("1.2.840.113549.1.9.14")  # PKCS#9
_IGNORED: Final = frozenset(
    map(
        ObjectIdentifier,
        (
            "1.2.840.113549.1.9.2",  # unstructured name
            "1.2.840.113549.1.9.7",  # challenge password
            "1.3.6.1.4.1.311.13.2.2",  # Windows: key provider
            "1.3.6.1.4.1.311.13.2.3",  # Windows: version
            "1.3.6.1.4.1.311.21.20",  # Windows: who asked
        ),
    )
)
"""Attributes that ask for nothing; nothing is taken from a request but its key."""

_MAX_REQUEST: Final = 16384  # bytes of DER
_NOT_PKCS10: Final = (
    "The request is whole, but not built as PKCS#10 (RFC 2986) demands: sending it again changes"
    " nothing, have it made with another program."
)
_MAX_SUBJECT: Final = 16  # attributes
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CLIENT: Final = (ExtendedKeyUsageOID.CLIENT_AUTH,)
_CURVE_OF: Final = {known: name for name, known in CURVES.items()}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request may ask for beside a subject."""

    usages: tuple[ObjectIdentifier, ...] = _CLIENT
    names: bool = False


@dataclass(frozen=True, slots=True)
class VettedCsr:
    """A CSR that passed.

    `csr_pem` is normalised; `body` and `cose` are the raw bytes as sent (for the record; `cose` is
    None without attestation); `spki_der` is the SubjectPublicKeyInfo, `spki_sha256` its digest in
    lower-case hex; `subject` is the RFC 4514 text, for information only; `common_name` its CN, None
    without one. `attestation` is `consistent` (digest, UUID and tag fit) or `absent`.
    """

    csr_pem: str
    body: bytes = field(repr=False)
    cose: bytes | None = field(repr=False)
    spki_der: bytes = field(repr=False)
    spki_sha256: str
    subject: str
    common_name: str | None
    attestation: Literal["consistent", "absent"]


def vet(
    keygen_text: str,
    *,
    uuid: str,
    sec_tag: int,
    attestation_required: bool,
    curves: Sequence[str] = ("P-256",),
) -> VettedCsr:
    """Vet the text that `AT%KEYGEN` answered for this board and sec_tag.

    Raises PolicyError identity.csr-unreadable, attestation-missing, attestation-malformed,
    digest-mismatch, uuid-mismatch, tag-mismatch, bad-signature, csr-policy, weak-key; nothing else,
    whatever the text.
    """
    body, cose = attestation.split(keygen_text)
    if cose is not None:
        _check_attestation(attestation.decode(cose), body, uuid.lower(), sec_tag)
    elif attestation_required:
        raise PolicyError(
            "identity.attestation-missing",
            "the modem gave a CSR without attestation, and the profile requires one",
        )
    vetted = _vet_der(body, cose, curves)
    if cose is None:
        _check_subject_uuid(vetted.common_name, uuid.lower())
    return vetted


def vet_file(
    data: bytes,
    *,
    curves: Sequence[str] = ("P-256",),
    usages: Sequence[ObjectIdentifier] = _CLIENT,
    names: bool = False,
) -> VettedCsr:
    """Vet a CSR that came as a file, PEM or DER, without a board.

    `usages` are the extended key usages that it may ask for, `names` whether it may ask for
    alternative names; nothing of either is taken from it. Raises PolicyError
    identity.csr-unreadable, bad-signature, csr-policy, weak-key.
    """
    return _vet_request(data, curves, _Asked(tuple(usages), names))


def vet_keygen(keygen_text: str, csr: VettedCsr) -> str:
    """The board (UUID, lower case) that the modem's own text, kept beside a CSR, says made its key;
    "" without attestation.

    "Consistent", never proven. Raises PolicyError identity.csr-unreadable,
    attestation-malformed, bad-signature, csr-policy, weak-key as `vet`; digest-mismatch where the
    text is of another CSR or was changed, uuid-mismatch where it names another board than the CSR's
    subject.
    """
    body, cose = attestation.split(keygen_text)
    if _vet_der(body, cose, tuple(CURVES)).spki_sha256 != csr.spki_sha256:
        raise PolicyError(
            "identity.digest-mismatch", "the modem's text beside the CSR is of another key"
        )
    if cose is None:
        return ""
    found = attestation.decode(cose)
    _check_attestation(found, body, found.uuid, found.sec_tag)
    _check_subject_uuid(csr.common_name, found.uuid)
    return found.uuid


def vet_pem(pem: str, *, curves: Sequence[str] = ("P-256",)) -> VettedCsr:
    """`vet_file` of a request as PEM text."""
    return vet_file(pem.encode(), curves=curves)


def _vet_request(data: bytes, curves: Sequence[str], asked: _Asked) -> VettedCsr:
    try:
        body = certificate_files.request(data)
    except certificate_files.UnfitFileError as error:
        raise PolicyError(
            "identity.csr-unreadable", f"the file {error.reason}", hint=error.hint
        ) from None
    if len(body) > _MAX_REQUEST:
        raise PolicyError(
            "identity.csr-unreadable",
            f"the request is longer than the {_MAX_REQUEST} bytes that one may have",
        )
    try:
        return _vet_der(body, None, curves, asked)
    except PolicyError as error:
        if error.code != "identity.csr-unreadable" or not der.is_one_sequence(body):
            raise
        raise PolicyError(
            error.code, error.message, hint=_NOT_PKCS10, details=error.details
        ) from None


def _check_attestation(
    found: attestation.Attestation, body: bytes, uuid: str, sec_tag: int
) -> None:
    if found.digest != attestation.digest_of(body):
        raise PolicyError(
            "identity.digest-mismatch",
            f"the attestation is for a body with SHA-256 {found.digest.hex()}, "
            f"this CSR has {attestation.digest_of(body).hex()}",
        )
    if found.uuid != uuid:
        raise PolicyError(
            "identity.uuid-mismatch",
            f"the attestation names board {found.uuid}, this board is {uuid}",
        )
    if found.sec_tag != sec_tag:
        raise PolicyError(
            "identity.tag-mismatch",
            f"the attestation names sec_tag {found.sec_tag}, the key was asked for {sec_tag}",
        )
    if found.message is not attestation.MessageType.CSR:
        raise PolicyError(
            "identity.attestation-malformed",
            "the attestation is for a bare public key, not for a CSR",
        )


def _check_subject_uuid(common_name: str | None, uuid: str) -> None:
    """Without attestation the subject, by default the modem's UUID, is the only thing that names
    the board.
    """
    if not _UUID.fullmatch(uuid):
        return  # a board that is known by its chip: nothing that its subject could be compared with
    if (
        common_name is not None
        and _UUID.fullmatch(common_name.lower())
        and common_name.lower() != uuid
    ):
        raise PolicyError(
            "identity.uuid-mismatch",
            f"the CSR's subject names board {common_name}, this board is {uuid}",
        )


def _vet_der(
    body: bytes, cose: bytes | None, curves: Sequence[str], asked: _Asked | None = None
) -> VettedCsr:
    csr = _guarded(lambda: x509.load_der_x509_csr(without_null(body)))
    key = _guarded(csr.public_key)
    if not _guarded(lambda: csr.is_signature_valid):
        raise PolicyError(
            "identity.bad-signature",
            "the CSR's signature was not made with the key that it carries",
        )
    subject: x509.Name = _guarded(
        lambda: csr.subject
    )  # the parser makes it anew each time it is asked
    _check_policy(csr, key, subject, curves, asked or _Asked())
    if (why := known(key)) is not None:
        raise PolicyError("identity.weak-key", f"the CSR is refused: {why}")
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return VettedCsr(
        csr_pem=csr.public_bytes(Encoding.PEM).decode(),
        body=body,
        cose=cose,
        spki_der=spki,
        spki_sha256=hashlib.sha256(spki).hexdigest(),
        subject=subject.rfc4514_string(),
        common_name=str(names[0].value) if names else None,
        attestation="absent" if cose is None else "consistent",
    )


def _guarded(read: Callable[[], Any]) -> Any:
    """Reading hostile DER: whatever the parser raises means that the CSR cannot be read."""
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - the parser's exceptions are not a closed set
        why = f"{type(error).__name__}: {error}"[:300]
        raise PolicyError(
            "identity.csr-unreadable",
            f"the CSR cannot be parsed ({why})",
            details={"parser": why},
        ) from None


def _check_policy(
    csr: x509.CertificateSigningRequest,
    key: object,
    subject: x509.Name,
    curves: Sequence[str],
    asked: _Asked,
) -> None:
    allowed = " or ".join(curves)
    curve = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__
    if not isinstance(key, ec.EllipticCurvePublicKey) or _CURVE_OF.get(curve) not in curves:
        raise _policy(f"its key is {_CURVE_OF.get(curve, curve)}, allowed is {allowed}")
    if csr.signature_algorithm_oid not in {
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
    }:
        raise _policy(
            f"its signature algorithm is {csr.signature_algorithm_oid.dotted_string}, allowed is"
            " ECDSA with SHA-256 or SHA-384"
        )
    _check_subject(subject)
    for attribute in _guarded(lambda: list(csr.attributes)):
        if attribute.oid != _EXTENSION_REQUEST and attribute.oid not in _IGNORED:
            raise _policy(
                f"it has the attribute {attribute.oid.dotted_string}, allowed is only an extension"
                " request"
            )
    for extension in _guarded(lambda: list(csr.extensions)):
        _check_extension(extension, asked)


def _check_subject(subject: x509.Name) -> None:
    attributes = list(subject)
    if len(attributes) > _MAX_SUBJECT or len(subject.rdns) != len(attributes):
        raise _policy(f"its subject has {len(attributes)} attributes in {len(subject.rdns)} parts")
    if sum(attribute.oid == NameOID.COMMON_NAME for attribute in attributes) > 1:
        raise _policy("its subject has more than one common name")
    for attribute in attributes:
        value = attribute.value
        if not isinstance(value, str) or not 1 <= len(value) <= 128 or not value.isprintable():
            raise _policy(
                f"its subject's {attribute.rfc4514_attribute_name} is not 1 to 128 printable"
                " characters"
            )


def _check_extension(extension: x509.Extension[Any], asked: _Asked) -> None:
    match extension.value:
        case x509.KeyUsage() as usage if usage.key_cert_sign or usage.crl_sign:
            raise _policy("it asks for the right to sign certificates or CRLs")
        case x509.BasicConstraints() as basic if basic.ca:
            raise _policy("it asks to become a CA")
        case x509.ExtendedKeyUsage() as usages if set(usages) != set(asked.usages):
            allowed = (
                "client authentication" if asked.usages == _CLIENT else "the certificate profile's"
            )
            raise _policy(f"it asks for an extended key usage other than {allowed}")
        case x509.SubjectAlternativeName() if asked.names:
            return
        case x509.SubjectAlternativeName():
            raise _policy("it asks for alternative names, and the certificate profile has none")
        case (
            x509.KeyUsage()
            | x509.BasicConstraints()
            | x509.ExtendedKeyUsage()
            | x509.SubjectKeyIdentifier()
        ):
            return
        case _:
            raise _policy(
                f"it asks for the extension {extension.oid.dotted_string}, which no certificate"
                " profile has"
            )


def _policy(why: str) -> PolicyError:
    return PolicyError("identity.csr-policy", f"the CSR is refused: {why}")
