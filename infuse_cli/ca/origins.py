"""Whose CA issued a certificate, and so whose list can revoke it.

A certificate counts as revoked once a list that this bench signs will hold it. One that another
party issued stays live until that party ends it, whatever this journal says.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec

from infuse_cli import home
from infuse_cli.ca.common import folder_of
from infuse_cli.errors import InfuseError, SignerError
from infuse_cli.pki.issuers import Issuer, all_issuers, sha256_of
from infuse_cli.pki.store import ca_folder
from infuse_cli.records import CertificateRecord, RevokeCertificate
from infuse_cli.records.ca import CLOUD_CA

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from cryptography import x509

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.settings import Settings


class Origin(enum.Enum):
    """Who issued a certificate."""

    THIS_CA = "this-ca"
    OTHER_CA = "other-ca"
    CLOUD = "cloud"
    UNKNOWN = "unknown"

    @property
    def is_ours(self) -> bool:
        """Whether this bench signs the list that can revoke it."""
        return self in {Origin.THIS_CA, Origin.OTHER_CA}


@dataclass(frozen=True, slots=True)
class LiveCertificate:
    """A certificate that stays valid, since no list of this bench can revoke it.

    `serial` and `issuer` (SHA-256) in lower-case hex; `refused_here`: this bench takes it for
    revoked, which nobody else knows.
    """

    serial: str
    issuer: str
    origin: Origin
    name: str | None = None
    not_after: datetime | None = None
    refused_here: bool = False


@dataclass(frozen=True, slots=True)
class RevocationPlan:
    """What a revocation of some certificates can do: `new` go onto a list of ours, `already` are on
    one, `live` stay valid.
    """

    new: tuple[RevokeCertificate, ...] = ()
    already: tuple[RevokeCertificate, ...] = ()
    live: tuple[LiveCertificate, ...] = ()


class KnownIssuers:
    """The issuers of the CAs that a bench has: of `folder`, by default the CA of the settings, of
    the home, and of the runs that signed something.
    """

    def __init__(self, settings: Settings, folder: Path | None = None) -> None:
        self._settings: Final = settings
        self.folder: Final = folder or folder_of(settings)

    @cached_property
    def own(self) -> Sequence[Issuer]:
        """The issuers of the CA itself, the current one first; none where there is no CA.

        Raises SignerError ca.corrupt.
        """
        return issuers_in(self.folder)

    @cached_property
    def _lists_of_own(self) -> frozenset[str]:
        return frozenset(issuer for found in self.own for issuer in lists_of(found))

    @cached_property
    def _lists_of_others(self) -> frozenset[str]:
        folders = (self._settings.home / home.CA).glob("*")
        return frozenset(
            issuer
            for folder in folders
            if folder != self.folder
            for found in _readable(folder)
            for issuer in lists_of(found)
        )

    def origin(self, certificate: CertificateRecord, journal: SqliteJournal) -> Origin:
        """Who issued a certificate of the journal. Raises JournalError."""
        found = self.origin_of_issuer(certificate.issuer)
        if found is not Origin.UNKNOWN:
            return found
        if certificate.profile == CLOUD_CA:
            return Origin.CLOUD
        if certificate.issuer in self._lists_of_run(certificate.run, journal):
            return Origin.OTHER_CA
        return Origin.UNKNOWN

    def origin_of_issuer(self, issuer: str) -> Origin:
        """Whose the list of an issuer (SHA-256 hex) is, as far as the CAs of this bench tell."""
        if issuer in self._lists_of_own:
            return Origin.THIS_CA
        return Origin.OTHER_CA if issuer in self._lists_of_others else Origin.UNKNOWN

    def _lists_of_run(self, run: str | None, journal: SqliteJournal) -> frozenset[str]:
        """Those of the CA that a run signed with: its folder may be outside of the home."""
        named = (
            None if run is None else journal.run(run).start.profile.get("identity", {}).get("ca")
        )
        if not isinstance(named, str) or not Path(named).is_absolute():
            return frozenset()
        issuers = _readable(ca_folder(self._settings.home, named))
        return frozenset(issuer for found in issuers for issuer in lists_of(found))

    def plan(
        self, journal: SqliteJournal, certificates: Iterable[CertificateRecord], reason: str
    ) -> RevocationPlan:
        """What can be revoked of certificates in the journal, for a reason of RFC 5280 §5.3.1."""
        new, already = list[RevokeCertificate](), list[RevokeCertificate]()
        live = list[LiveCertificate]()
        for certificate in certificates:
            origin = self.origin(certificate, journal)
            is_revoked = certificate.state == "revoked"
            if not origin.is_ours:
                live.append(
                    LiveCertificate(
                        certificate.serial,
                        certificate.issuer,
                        origin,
                        certificate.name,
                        certificate.not_after,
                        refused_here=is_revoked,
                    )
                )
                continue
            (already if is_revoked else new).append(
                RevokeCertificate(
                    serial=certificate.serial,
                    issuer=certificate.issuer,
                    reason=reason,
                    not_after=certificate.not_after,
                    name=certificate.name,
                )
            )
        return RevocationPlan(tuple(new), tuple(already), tuple(live))


def issuers_in(folder: Path) -> Sequence[Issuer]:
    """Every issuer of a CA, none where there is no CA. Raises SignerError ca.corrupt."""
    try:
        return all_issuers(folder)
    except SignerError as error:
        if error.code == "ca.not-found":
            return ()
        raise


def _readable(folder: Path) -> Sequence[Issuer]:
    """The issuers of another CA, none where its folder cannot be read."""
    try:
        return all_issuers(folder)
    except (InfuseError, OSError):
        return ()


def lists_of(issuer: Issuer) -> tuple[str, ...]:
    """The issuers (SHA-256 hex) whose lists a CA signs: its own, and its root's where the root is
    one that `infuse ca init` makes.
    """
    above = (issuer.chain[1],) if root_is_ours(issuer.chain) else ()
    return tuple(map(sha256_of, (issuer.certificate, *above)))


def root_is_ours(chain: Sequence[x509.Certificate]) -> bool:
    """Whether the root right above an intermediate can be one of `infuse ca init`: P-256, nothing
    between.
    """
    key = chain[-1].public_key()
    return (
        len(chain) == 2
        and isinstance(key, ec.EllipticCurvePublicKey)
        and isinstance(key.curve, ec.SECP256R1)
    )
