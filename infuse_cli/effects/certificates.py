"""A certificate of the local CA, once: reserve its serial, sign, store, and only then give it out.

What is reserved and never signed is void and is never used again. A step of the line lets its
engine commit what `reserve`, `sign` and `voids` say; `sign_and_store` commits by itself.

Guaranteed: `docs/reference/guarantees.md#a-serial-number-is-reserved-before-signing`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infuse_cli import failpoint
from infuse_cli.errors import JournalError, PolicyError
from infuse_cli.pki import issuing
from infuse_cli.pki.certificate_profiles import Limits
from infuse_cli.records import CheckLimits, ReserveSerial, StoreCertificate, VoidSerial

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from infuse_cli.pki.certificate_profiles import CertificateProfile
    from infuse_cli.ports import Journal, Signer
    from infuse_cli.records import Write


@dataclass(frozen=True, slots=True)
class LeafRequest:
    """What one certificate is to say: `values` fill the certificate profile's variables, `names`
    are alternative names as (kind, text).
    """

    spki_der: bytes = field(repr=False)
    values: Mapping[str, str]
    names: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Reservation:
    """Serials of an issuer (SHA-256 hex) that nobody else gets, once `writes` are committed."""

    issuer: str
    serials: tuple[str, ...]
    writes: tuple[Write, ...]


def reserve(
    signer: Signer, profile: CertificateProfile, count: int = 1, *, attempt: str | None = None
) -> Reservation:
    """New serials, with the check of the profile's limits; nothing is committed yet."""
    issuer = issuing.issuer_id(signer)
    serials = tuple(issuing.serial_hex(issuing.new_serial()) for _ in range(count))
    limits = profile.limits
    check = CheckLimits(profile=profile.name, adding=count, per_run=limits.run, per_day=limits.day)
    return Reservation(
        issuer,
        serials,
        (
            *((check,) if limits != Limits() else ()),
            *(ReserveSerial(serial=serial, issuer=issuer, attempt=attempt) for serial in serials),
        ),
    )


def voids(issuer_serials: Iterable[tuple[str, str]]) -> tuple[VoidSerial, ...]:
    """The end of reserved serials, as (serial, issuer), that got no certificate."""
    return tuple(VoidSerial(serial=serial, issuer=issuer) for serial, issuer in issuer_serials)


def stored(
    issued: issuing.IssuedCertificate,
    profile: CertificateProfile,
    *,
    device_id: str | None,
    board: str | None = None,
    attempt: str | None = None,
    unique_name: bool = False,
) -> StoreCertificate:
    """The record of a signed certificate, which leaves the process after this is committed."""
    return StoreCertificate(
        serial=issued.serial,
        issuer=issued.issuer,
        sha256=issued.sha256,
        spki_sha256=issued.spki_sha256,
        not_before=issued.not_before,
        not_after=issued.not_after,
        pem=issued.pem,
        profile=profile.name,
        board=board,
        attempt=attempt,
        device_id=device_id,
        name=issued.name,
        unique_name=unique_name,
    )


def sign_and_store(
    journal: Journal,
    signer: Signer,
    profile: CertificateProfile,
    requests: Sequence[LeafRequest],
    *,
    now: datetime,
    unique_name: bool = False,
) -> list[issuing.IssuedCertificate | PolicyError]:
    """Sign all requests in two commits: their serials, then their certificates, in their order.

    A request that does not fit the profile gets its error, and its serial is void. Whatever else
    stops it voids all serials and is raised: SignerError, JournalError, PolicyError identity.quota.
    """
    if not requests:
        return []
    reserved = reserve(signer, profile, len(requests))
    journal.commit(*reserved.writes)
    results = list[issuing.IssuedCertificate | PolicyError]()
    try:
        builder = issuing.LeafCertificateBuilder(signer, profile, now, profile.validity_days)
        results += (
            _signed(builder, request, serial)
            for request, serial in zip(requests, reserved.serials, strict=True)
        )
        failpoint.hit("signed")
        journal.commit(
            *(
                VoidSerial(serial=serial, issuer=reserved.issuer)
                if isinstance(result, PolicyError)
                else stored(
                    result,
                    profile,
                    device_id=request.values.get("deviceId"),
                    unique_name=unique_name,
                )
                for request, serial, result in zip(requests, reserved.serials, results, strict=True)
            )
        )
    except BaseException:
        # Refused where the stop came right after the certificates' commit: then all of it is used.
        # What stays reserved is voided by the next command.
        with suppress(JournalError):
            journal.commit(*voids((serial, reserved.issuer) for serial in reserved.serials))
        raise
    return results


def _signed(
    builder: issuing.LeafCertificateBuilder, request: LeafRequest, serial: str
) -> issuing.IssuedCertificate | PolicyError:
    try:
        return builder.issue(request.spki_der, int(serial, 16), request.values, request.names)
    except PolicyError as error:
        return error
