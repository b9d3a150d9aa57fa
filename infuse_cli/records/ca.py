"""Writes and records of the CA: serials, certificates, revocations, CRLs."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec needs the type at run time

from infuse_cli.records.base import Record, Write


class ReserveSerial(Write, frozen=True):
    """A certificate serial (lower-case hex) is taken before it is signed; unique per issuer
    (SHA-256 hex of its DER).
    """

    serial: str
    issuer: str
    attempt: str | None = None


class VoidSerial(Write, frozen=True):
    """A reserved serial that never got a certificate is never used again."""

    serial: str
    issuer: str


class CheckLimits(Write, frozen=True):
    """Refuse (identity.quota) when `adding` more certificates pass a limit of a certificate
    profile; None is no limit.

    What is under way counts too, of whichever profile. A day is a day of UTC.
    """

    profile: str
    adding: int = 1
    per_run: int | None = None
    per_day: int | None = None


class CheckName(Write, frozen=True):
    """Refuse (identity.name-taken) a name that a live certificate of this profile gives to another
    key.

    A key of the same board may take it over.
    """

    name: str
    profile: str
    spki_sha256: str
    board: str | None = None


class StoreCertificate(Write, frozen=True):
    """A certificate that exists; it may leave the process only after this is committed.

    `name` is its common name. With `unique_name` it is refused (identity.name-taken) while a live
    certificate of the same certificate profile gives this name to another key, unless that key is
    of the same board; one for the same key is journal.conflict: another process signed it just now.
    """

    serial: str
    issuer: str
    sha256: str
    spki_sha256: str
    not_before: datetime
    not_after: datetime
    pem: str
    profile: str
    board: str | None = None
    attempt: str | None = None
    device_id: str | None = None
    state: str = "issued"
    name: str | None = None
    unique_name: bool = False


class MoveCertificate(Write, frozen=True):
    """A certificate became e.g. superseded or issued-unseen; one that is revoked stays so."""

    serial: str
    issuer: str
    to_state: str


class RevokeCertificate(Write, frozen=True):
    """A certificate is revoked for good (RFC 5280 §5.3.1 reason in camelCase); a second time
    changes nothing.

    The certificate need not be on record: an intermediate, or one that a thief made.
    """

    serial: str
    issuer: str
    reason: str
    not_after: datetime | None = None
    name: str | None = None


class StoreCrl(Write, frozen=True):
    """A CRL that exists: numbers of an issuer go up by one, and it may leave only after this is
    committed.

    `content` is a digest of its entries, by which it is known whether anything changed since.
    """

    issuer: str
    number: int
    this_update: datetime
    next_update: datetime
    sha256: str
    content: str
    entries: int


class RefuseCsr(Write, frozen=True):
    """A CSR was refused: what came (base64, cut where it is longer than any CSR), its SHA-256, and
    why.
    """

    csr: str
    sha256: str
    code: str
    message: str
    source: str = ""


CLOUD_CA = "cloud-ca"
"""The certificate profile under which certificates of the cloud's CA are stored."""


class CertificateRecord(Record, frozen=True):
    """A certificate on record; `state` is issued, superseded, issued-unseen or revoked.

    `name` is its common name; `revoked_at` and `reason` are those of its revocation.
    """

    serial: str
    issuer: str
    sha256: str
    spki_sha256: str
    not_before: datetime
    not_after: datetime
    pem: str
    profile: str
    state: str
    board: str | None = None
    attempt: str | None = None
    device_id: str | None = None
    name: str | None = None
    station: str | None = None
    run: str | None = None
    stored: datetime | None = None
    revoked_at: datetime | None = None
    reason: str | None = None


class RevocationRecord(Record, frozen=True):
    """An entry of a CRL to come: serial in lower-case hex, `not_after` of the certificate where it
    is known.
    """

    serial: str
    issuer: str
    at: datetime
    reason: str
    not_after: datetime | None = None
    name: str | None = None


class CrlRecord(Record, frozen=True):
    """A CRL on record (`StoreCrl`)."""

    issuer: str
    number: int
    this_update: datetime
    next_update: datetime
    sha256: str
    content: str
    entries: int
