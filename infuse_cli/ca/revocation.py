"""Revoking certificates: which ones are meant, which of them a list of this bench can revoke, and
which lists have to be made then.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from infuse_cli.ca import common
from infuse_cli.ca.origins import (
    KnownIssuers,
    LiveCertificate,
    Origin,
    RevocationPlan,
    root_is_ours,
)
from infuse_cli.errors import JournalError, SignerError, UsageError
from infuse_cli.journal import certificates
from infuse_cli.journal.certificates import Wanted
from infuse_cli.pki import chain
from infuse_cli.pki.crl import REASONS
from infuse_cli.pki.issuers import find_issuer, sha256_of
from infuse_cli.pki.reading import read_certificates
from infuse_cli.pki.serials import serial_hex
from infuse_cli.records import RevokeCertificate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from cryptography import x509

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.pki.issuers import Issuer
    from infuse_cli.settings import Settings


@dataclass(frozen=True, slots=True)
class RevokeRequest:
    """Which certificates are to be revoked, by one kind of choice, and why.

    `serials` may be several; `issuer` names the issuer of a serial that is in no record. `reason`
    is a word of `pki.crl.REASONS`.
    """

    serials: tuple[str, ...] = ()
    file: Path | None = None
    device: str | None = None
    board: str | None = None
    run: str | None = None
    station: str | None = None
    issuer: str | None = None
    reason: str = "unspecified"
    dry_run: bool = False

    def check(self) -> None:
        """Raise UsageError usage.bad-option for a request that is none."""
        if self.reason not in REASONS:
            raise UsageError(
                "usage.bad-option",
                f"--reason is one of {', '.join(REASONS)}, not {self.reason!r}",
            )
        choices = ("serials", "file", "device", "board", "run", "station")
        if sum(bool(getattr(self, name)) for name in choices) != 1:
            raise UsageError(
                "usage.bad-option",
                "exactly one of --serial, --file, --device, --board, --run and --station says what"
                " is revoked",
            )


class ListKind(enum.Enum):
    """Whose list has to be made anew."""

    CURRENT = "current"
    OLDER = "older"
    ROOT = "root"
    OTHER_CA = "other-ca"


@dataclass(frozen=True, slots=True)
class DueList:
    """A list that has to reach brokers: `issuer` is its issuer's SHA-256, `serial` the issuer's
    own serial where it is an older intermediate.
    """

    kind: ListKind
    issuer: str
    serial: str | None = None


@dataclass(frozen=True, slots=True)
class Revocation:
    """What a revocation did: `new` will be on the lists `due`, `already` is on a list or will be,
    `live` stays valid for everybody else.

    `needs_renewal`: the CA's current intermediate is revoked, so it signs nothing more.
    """

    reason: str
    dry_run: bool
    new: tuple[RevokeCertificate, ...]
    already: tuple[RevokeCertificate, ...]
    live: tuple[LiveCertificate, ...]
    due: tuple[DueList, ...] = ()
    needs_renewal: bool = False


def revoke(settings: Settings, request: RevokeRequest, *, ca: str | None = None) -> Revocation:
    """Revoke for good what a list of this bench can hold; what is revoked already stays as it is.

    A certificate of somebody else's CA is named in the result and stays live. An intermediate whose
    root is elsewhere signs nothing more here, and stays live too.

    Raises UsageError, JournalError journal.not-found, SignerError ca.verify-failed where all that
    was meant is somebody else's.
    """
    request.check()
    known = KnownIssuers(settings, common.folder_of(settings, ca))
    reason = REASONS[request.reason][0]
    with common.ca_run(settings, "ca revoke") as journal:
        plan = _planned(journal, request, reason, known)
        if not (plan.new or plan.already or any(live.refused_here for live in plan.live)):
            raise _not_ours(plan.live)
        writes = [*plan.new, *_refused_here(plan.live, reason)]
        if writes and not request.dry_run:
            journal.commit(*writes)
    return Revocation(
        reason,
        request.dry_run,
        plan.new,
        plan.already,
        plan.live,
        tuple(_due(plan.new, known)),
        _needs_renewal(plan, known.own),
    )


def _planned(
    journal: SqliteJournal, request: RevokeRequest, reason: str, known: KnownIssuers
) -> RevocationPlan:
    if request.file is not None:
        return _of_file(journal, request.file, reason, known)
    if request.serials:
        plans = [
            _of_serial(journal, serial, request.issuer, reason, known) for serial in request.serials
        ]
        return _joined(plans)
    wanted = Wanted(
        device=request.device, board=request.board, run=request.run, station=request.station
    )
    plan = known.plan(journal, certificates.search(journal, wanted), reason)
    if request.station is not None:
        plan = _joined([plan, _intermediates_of(journal, request.station, reason, known)])
    if not (plan.new or plan.already or plan.live):
        raise JournalError(
            "journal.not-found",
            "no certificate on record fits",
            hint="`infuse ca list` shows those that there are.",
        )
    return plan


def _joined(plans: Iterable[RevocationPlan]) -> RevocationPlan:
    plans = list(plans)
    return RevocationPlan(
        *(
            tuple(entry for plan in plans for entry in getattr(plan, part.name))
            for part in fields(RevocationPlan)
        )
    )


def _of_serial(
    journal: SqliteJournal, serial: str, named: str | None, reason: str, known: KnownIssuers
) -> RevocationPlan:
    """A certificate of the journal, one of this CA's own intermediates, or, with an issuer named,
    one that nobody recorded.
    """
    plain = certificates.plain_serial(serial)
    try:
        int(plain, 16)
    except ValueError:
        raise UsageError(
            "usage.bad-option", f"--serial is a number in hex, not {serial!r}"
        ) from None
    issuer = None if named is None else _issuer_named(named, known)
    found = certificates.search(journal, Wanted(serial=plain, issuer=issuer))
    if found:
        return known.plan(journal, found, reason)
    for own in known.own:
        if serial_hex(own.certificate.serial_number) == plain:
            return _of_intermediate(journal, own, reason)
    if issuer is None:
        raise JournalError(
            "journal.not-found",
            f"no certificate with serial {serial} is on record",
            hint=(
                "`infuse ca list` shows those that there are; with --issuer current a serial that"
                " is on no record is revoked too."
            ),
        )
    write = RevokeCertificate(serial=plain, issuer=issuer, reason=reason)
    return _new_or_already(journal, write)


def _issuer_named(named: str, known: KnownIssuers) -> str:
    """The SHA-256 of an issuer of this CA: `root`, or what `find_issuer` takes."""
    if named == "root":
        if not known.own:
            raise SignerError("ca.not-found", f"there is no CA in {known.folder}")
        return sha256_of(known.own[0].chain[-1])
    return find_issuer(known.folder, named).sha256


def _new_or_already(journal: SqliteJournal, write: RevokeCertificate) -> RevocationPlan:
    if journal.is_revoked(write.serial, write.issuer):
        return RevocationPlan(already=(write,))
    return RevocationPlan(new=(write,))


def _of_intermediate(journal: SqliteJournal, issuer: Issuer, reason: str) -> RevocationPlan:
    """An intermediate of this CA: on its root's list, where that root was made here."""
    write = _write_for(issuer.certificate, issuer.chain[1], reason)
    if root_is_ours(issuer.chain):
        return _new_or_already(journal, write)
    live = LiveCertificate(
        write.serial, write.issuer, Origin.UNKNOWN, write.name, write.not_after, refused_here=True
    )
    return RevocationPlan(live=(live,))


def _write_for(
    certificate: x509.Certificate, issuer: x509.Certificate, reason: str
) -> RevokeCertificate:
    name = ", ".join(chain.common_names(certificate)) or certificate.subject.rfc4514_string()
    return RevokeCertificate(
        serial=serial_hex(certificate.serial_number),
        issuer=sha256_of(issuer),
        reason=reason,
        not_after=certificate.not_valid_after_utc,
        name=name,
    )


def _of_file(
    journal: SqliteJournal, file: Path, reason: str, known: KnownIssuers
) -> RevocationPlan:
    certificate = read_certificates(file)[0]
    for own in known.own:
        if own.certificate == certificate and not chain.is_self_issued(certificate):
            return _of_intermediate(journal, own, reason)
        if chain.issued(certificate, own.certificate):
            return _new_or_already(journal, _write_for(certificate, own.certificate, reason))
    above = [issuer for own in known.own if root_is_ours(own.chain) for issuer in own.chain[1:]]
    issuer = next((found for found in above if chain.issued(certificate, found)), None)
    if issuer is None or chain.is_self_issued(certificate):
        raise SignerError(
            "ca.verify-failed", f"{file} was not issued by this CA, so it cannot revoke it"
        )
    return _new_or_already(journal, _write_for(certificate, issuer, reason))


def _intermediates_of(
    journal: SqliteJournal, station: str, reason: str, known: KnownIssuers
) -> RevocationPlan:
    """The intermediates that only this station signed with: whoever has the bench has their key."""
    everybody = certificates.issuers_of(journal)
    own = certificates.issuers_of(journal, station=station)
    why = "cACompromise" if reason == "keyCompromise" else reason
    return _joined(
        _of_intermediate(journal, issuer, why)
        for issuer in known.own
        if own.get(issuer.sha256, 0) == everybody.get(issuer.sha256) and len(issuer.chain) > 1
    )


def _refused_here(live: Sequence[LiveCertificate], reason: str) -> list[RevokeCertificate]:
    """What this bench refuses although it cannot tell others: its own intermediates."""
    return [
        RevokeCertificate(
            serial=found.serial,
            issuer=found.issuer,
            reason=reason,
            not_after=found.not_after,
            name=found.name,
        )
        for found in live
        if found.refused_here
    ]


def _due(new: Sequence[RevokeCertificate], known: KnownIssuers) -> Iterable[DueList]:
    own = {issuer.sha256: issuer for issuer in known.own}
    for issuer in dict.fromkeys(write.issuer for write in new):
        found = own.get(issuer)
        if found is not None and found.current:
            yield DueList(ListKind.CURRENT, issuer)
        elif found is not None:
            yield DueList(ListKind.OLDER, issuer, serial_hex(found.certificate.serial_number))
        elif known.origin_of_issuer(issuer) is Origin.THIS_CA:
            yield DueList(ListKind.ROOT, issuer)
        else:
            yield DueList(ListKind.OTHER_CA, issuer)


def _needs_renewal(plan: RevocationPlan, own: Sequence[Issuer]) -> bool:
    revoked = {(write.serial, write.issuer) for write in plan.new}
    revoked |= {(found.serial, found.issuer) for found in plan.live}
    return any(
        (serial_hex(issuer.chain[0].serial_number), sha256_of(issuer.chain[1])) in revoked
        for issuer in own
        if issuer.current and len(issuer.chain) > 1
    )


def _not_ours(live: Sequence[LiveCertificate]) -> SignerError:
    origins = {found.origin for found in live}
    who = "the cloud's CA" if origins == {Origin.CLOUD} else "a CA that is not on this bench"
    return SignerError(
        "ca.verify-failed",
        f"{', '.join(found.serial for found in live)} was issued by {who}, so no list of this bench"
        " can revoke it, and it stays valid",
        hint=(
            "Only whoever runs the cloud can end it."
            if origins == {Origin.CLOUD}
            else "Revoke it on the bench that has the CA."
        ),
    )
