"""Looking at a CA and at certificates: what a CA consists of, its certificates as files, whether a
certificate holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from infuse_cli import home
from infuse_cli.ca import common
from infuse_cli.errors import SignerError, UsageError
from infuse_cli.pki import chain, store
from infuse_cli.pki.certificate_profile_files import resolve
from infuse_cli.pki.issuers import all_issuers, find_issuer, sha256_of
from infuse_cli.pki.profile_check import Point, deviations, points
from infuse_cli.pki.reading import read_certificates
from infuse_cli.pki.renewal import waiting
from infuse_cli.pki.serials import serial_hex

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from infuse_cli.pki.issuers import Issuer
    from infuse_cli.settings import Settings


@dataclass(frozen=True, slots=True)
class DescribedIssuer:
    """An intermediate of a CA; `revoked` as this bench's journal has it."""

    certificate: x509.Certificate
    revoked: bool


@dataclass(frozen=True, slots=True)
class CaDescription:
    """A CA without its secrets.

    `issuers`: the one that signs first. `key_uri` is None for a key in a file. `pending` is a
    request that waits to be signed by an external root. `invalid` says why the chain is not valid
    now. `key_is_loose`: other users can read the key's file.
    """

    folder: Path
    root: x509.Certificate
    issuers: tuple[DescribedIssuer, ...]
    key_uri: str | None
    root_key_here: bool
    key_is_loose: bool
    pending: Path | None
    days_left: int
    invalid: SignerError | None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def current(self) -> DescribedIssuer:
        """The intermediate that signs."""
        return self.issuers[0]


def describe(settings: Settings, folder: Path) -> CaDescription:
    """A CA by its folder; its passphrase is not needed. Raises SignerError."""
    issuers, is_revoked = all_issuers(folder), revocations_of(settings.home)
    path, now = issuers[0].chain, datetime.now(UTC)
    return CaDescription(
        folder,
        path[-1],
        tuple(_described(issuer, is_revoked) for issuer in issuers),
        issuers[0].key_uri,
        store.root_key_here(folder),
        store.key_is_loose(folder),
        waiting(folder),
        (path[0].not_valid_after_utc - now).days,
        _invalid(path, now),
    )


def _described(
    issuer: Issuer, is_revoked: Callable[[x509.Certificate, x509.Certificate], bool]
) -> DescribedIssuer:
    above = issuer.chain[1:2]
    revoked = bool(above) and is_revoked(issuer.certificate, above[0])
    return DescribedIssuer(issuer.certificate, revoked)


def _invalid(path: Sequence[x509.Certificate], now: datetime) -> SignerError | None:
    try:
        store.check_dates(path, now)
    except SignerError as error:
        return error
    return None


def revocations_of(home_folder: Path) -> Callable[[x509.Certificate, x509.Certificate], bool]:
    """Whether the journal of a home has a certificate of an issuer as revoked; a home without a
    journal has revoked nothing.
    """
    from infuse_cli.journal.store import open_journal

    if not (home_folder / home.JOURNAL).exists():
        return lambda _certificate, _issuer: False

    def is_revoked(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        with open_journal(home_folder, create=False) as journal:
            return journal.is_revoked(serial_hex(certificate.serial_number), sha256_of(issuer))

    return is_revoked


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """Which certificates of a CA go into `out`: the root, the issuer that is named (`root`,
    `current`, or the beginning of a serial or SHA-256), or with `whole` the issuer and all above.
    """

    out: Path
    issuer: str | None = None
    whole: bool = False
    der: bool = False


def export(
    settings: Settings, request: ExportRequest, *, ca: str | None = None
) -> tuple[x509.Certificate, ...]:
    """Write certificates of a CA, and return them. Raises UsageError, SignerError."""
    if request.whole and request.der:
        raise UsageError("usage.bad-option", "--der holds one certificate; --chain is several")
    folder = common.folder_of(settings, ca)
    is_root = request.issuer in {None, "root"}
    path = store.read_chain(folder) if is_root else find_issuer(folder, request.issuer or "").chain
    single = path[-1:] if is_root else path[:1]
    exported = path if request.whole else single
    common.check_writable(settings, request.out)
    data = (
        exported[0].public_bytes(Encoding.DER)
        if request.der
        else chain.pem_bundle(exported).encode()
    )
    common.write(settings, request.out, data)
    return tuple(exported)


@dataclass(frozen=True, slots=True)
class Verified:
    """A certificate whose chain, dates and contents are right; `profile` is None for a CA's."""

    file: Path
    certificate: x509.Certificate
    profile: str | None
    root: x509.Certificate


def verify(
    settings: Settings,
    file: Path,
    *,
    certificate: str | None = None,
    root: Path | None = None,
    ca: str | None = None,
) -> Verified:
    """Check a certificate against a root, this bench's revocations and a certificate profile.

    Raises SignerError ca.verify-failed, UsageError, ProfileError.
    """
    profile = resolve(certificate or common.identity(settings).certificate, settings.home)
    leaf, *others = read_certificates(file)
    above, roots = list[x509.Certificate](), list[x509.Certificate]()
    if root is not None:
        roots += read_certificates(root)
    else:
        above, roots = _local(common.folder_of(settings, ca))
    chain.verify_chain(leaf, [*others, *above], roots, datetime.now(UTC))
    _refuse_revoked(settings, chain.order(leaf, [*others, *above, *roots]))
    if chain.is_ca(leaf):
        return Verified(file, leaf, None, roots[0])
    if found := deviations(leaf, profile):
        raise SignerError(
            "ca.verify-failed",
            f"the certificate is not what profile {profile.name!r} says: {'; '.join(found)}",
        )
    return Verified(file, leaf, profile.name, roots[0])


def _refuse_revoked(settings: Settings, path: Sequence[x509.Certificate]) -> None:
    """A certificate and all above it that this bench's journal knows to be revoked."""
    is_revoked = revocations_of(settings.home)
    for certificate, issuer in pairwise(path):
        if is_revoked(certificate, issuer):
            raise SignerError(
                "ca.verify-failed",
                f"{certificate.subject.rfc4514_string()} was revoked: serial"
                f" {serial_hex(certificate.serial_number)}",
            )


def _local(folder: Path) -> tuple[list[x509.Certificate], list[x509.Certificate]]:
    """Every issuer of the CA and the roots: a certificate of an issuer that was replaced is as good
    as before.
    """
    issuers = all_issuers(folder)
    above = [certificate for issuer in issuers for certificate in issuer.chain[:-1]]
    return above, list(dict.fromkeys(issuer.chain[-1] for issuer in issuers))


@dataclass(frozen=True, slots=True)
class Lint:
    """A certificate beside a certificate profile, point by point."""

    file: Path
    profile: str
    points: tuple[Point, ...]

    @property
    def wrong(self) -> tuple[Point, ...]:
        """The points that are not as the profile wants them."""
        return tuple(point for point in self.points if not point.ok)


def lint(settings: Settings, file: Path, certificate: str | None = None) -> Lint:
    """Compare a certificate with its certificate profile.

    Raises SignerError ca.verify-failed, UsageError, ProfileError.
    """
    profile = resolve(certificate or common.identity(settings).certificate, settings.home)
    return Lint(file, profile.name, tuple(points(read_certificates(file)[0], profile)))
