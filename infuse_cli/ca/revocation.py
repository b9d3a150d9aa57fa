"""`infuse ca revoke` and `infuse ca crl`: what is taken back, and the lists that say so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from infuse_cli import records as rec
from infuse_cli.ca import common as ca_common
from infuse_cli.cli.result import OperationResult
from infuse_cli.effects.results import REVOCATION_FILES
from infuse_cli.errors import JournalError, SignerError, UsageError
from infuse_cli.files import private_folder, read_bounded
from infuse_cli.journal import certificates
from infuse_cli.journal.certificates import Wanted
from infuse_cli.pki import chain, issuing
from infuse_cli.pki.crl import REASONS, Entry, MadeCrl, content_of, make_crl
from infuse_cli.pki.files import PRIVATE, write_atomic
from infuse_cli.pki.issuers import all_issuers, find_issuer, load_issuer, load_root, sha256_of
from infuse_cli.pki.reading import read_certificates
from infuse_cli.pki.serials import serial_hex
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography import x509

    from infuse_cli.ca.common import PassphraseOptions
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.ports import Signer

DEFAULT_DAYS: Final = 30
_CRLS: Final = "crl"
_TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which certificates are to be revoked: one kind of choice, `serials` may be several."""

    serials: tuple[str, ...] = ()
    file: Path | None = None
    device: str | None = None
    board: str | None = None
    run: str | None = None
    station: str | None = None
    issuer: str | None = None


def revoke(
    chosen: Chosen, reason: str, ca: str | None, *, dry_run: bool = False
) -> OperationResult:
    """Revoke for good. What is revoked already stays as it is."""
    if reason not in REASONS:
        raise UsageError(
            "usage.bad-option", f"--reason is one of {', '.join(REASONS)}, not {reason!r}"
        )
    given = [
        name
        for name in ("serials", "file", "device", "board", "run", "station")
        if getattr(chosen, name)
    ]
    if len(given) != 1:
        raise UsageError(
            "usage.bad-option",
            "exactly one of --serial, --file, --device, --board, --run and --station says what is"
            " revoked",
        )
    with ca_common.recorded("ca revoke") as journal:
        writes = _chosen(journal, chosen, REASONS[reason][0], ca)
        already = [one for one in writes if journal.is_revoked(one.serial, one.issuer)]
        new = [one for one in writes if one not in already]
        if new and not dry_run:
            journal.commit(*new)
    data = {
        "revoked": [_told(one) for one in new],
        "already": [_told(one) for one in already],
        "reason": REASONS[reason][0],
        "dryRun": dry_run,
    }
    verb = "Would be revoked" if dry_run else "Revoked"
    lines = [f"{verb}: {one.name or '-'}, serial {one.serial}" for one in new] + [
        f"Revoked before: {one.name or '-'}, serial {one.serial}" for one in already
    ]
    return OperationResult(
        "ca revoke", data, human="\n".join([*lines, *(() if dry_run else _next(new, ca))])
    )


def _next(new: Sequence[rec.RevokeCertificate], ca: str | None) -> list[str]:
    """The lists that say so to the world, one of each issuer; an intermediate is in the root's."""
    issuers = _issuers(ca)
    lists = {one.chain[-1]: "--issuer root --root-key DIR " for one in issuers} | {
        one.certificate: (
            "" if one.current else f"--issuer {serial_hex(one.certificate.serial_number)[:12]} "
        )
        for one in issuers
    }
    of = {sha256_of(certificate): words for certificate, words in lists.items()}
    found = [
        f"Next: infuse ca crl {of[issuer]}--out FILE, and give the list to the broker."
        for issuer in dict.fromkeys(one.issuer for one in new)
        if issuer in of
    ]
    gone = {(one.serial, one.issuer) for one in new}
    current = [one for one in issuers if one.current and len(one.chain) > 1]
    renew = any(
        (serial_hex(one.chain[0].serial_number), sha256_of(one.chain[1])) in gone for one in current
    )
    return [
        *found,
        *(
            [
                (
                    "This CA signs nothing more until `infuse ca renew --root-key DIR` made a new"
                    " intermediate."
                )
            ]
            if renew
            else []
        ),
    ]


def _told(one: rec.RevokeCertificate) -> dict[str, Any]:
    return {
        "serial": one.serial,
        "issuerSha256": one.issuer,
        "name": one.name,
        "notAfter": one.not_after,
    }


def _chosen(
    journal: SqliteJournal, chosen: Chosen, reason: str, ca: str | None
) -> list[rec.RevokeCertificate]:
    if chosen.file is not None:
        return [_of_file(chosen.file, reason, ca)]
    if chosen.serials:
        return [
            one
            for serial in chosen.serials
            for one in _of_serial(journal, serial, chosen.issuer, reason, ca)
        ]
    wanted = Wanted(
        device=chosen.device, board=chosen.board, run=chosen.run, station=chosen.station
    )
    found = [_write_for(one, reason) for one in certificates.search(journal, wanted)]
    if chosen.station is not None:
        found += _intermediates(journal, chosen.station, reason, ca)
    if not found:
        raise JournalError(
            "journal.not-found",
            "no certificate on record fits",
            hint="`infuse ca list` shows those that there are.",
        )
    return found


def _write_for(one: rec.CertificateRecord, reason: str) -> rec.RevokeCertificate:
    return rec.RevokeCertificate(
        serial=one.serial, issuer=one.issuer, reason=reason, not_after=one.not_after, name=one.name
    )


def _of_certificate(
    certificate: x509.Certificate, issuer: x509.Certificate, reason: str
) -> rec.RevokeCertificate:
    name = ", ".join(chain.common_names(certificate)) or certificate.subject.rfc4514_string()
    return rec.RevokeCertificate(
        serial=serial_hex(certificate.serial_number),
        issuer=sha256_of(issuer),
        reason=reason,
        not_after=certificate.not_valid_after_utc,
        name=name,
    )


def _of_serial(
    journal: SqliteJournal, serial: str, issuer: str | None, reason: str, ca: str | None
) -> list[rec.RevokeCertificate]:
    """On record as a certificate, one of this CA's own intermediates, or, with an issuer named, a
    stranger's.
    """
    try:
        plain = certificates.plain_serial(serial)
        int(plain, 16)
    except ValueError:
        raise UsageError(
            "usage.bad-option", f"--serial is a number in hex, not {serial!r}"
        ) from None
    named = None if issuer is None else _issuer_certificate(issuer, ca)
    found = certificates.search(
        journal, Wanted(serial=plain, issuer=None if named is None else sha256_of(named))
    )
    if found:
        return [_write_for(one, reason) for one in found]
    for one in _issuers(ca):
        if serial_hex(one.chain[0].serial_number) == plain:
            return [_of_certificate(one.chain[0], one.chain[1], reason)]
    if named is None:
        raise JournalError(
            "journal.not-found",
            f"no certificate with serial {serial} is on record",
            hint=(
                "`infuse ca list` shows those that there are; with --issuer current a serial that"
                " is on no record is revoked too."
            ),
        )
    return [rec.RevokeCertificate(serial=plain, issuer=sha256_of(named), reason=reason)]


def _of_file(file: Path, reason: str, ca: str | None) -> rec.RevokeCertificate:
    certificate = read_certificates(file)[0]
    candidates = [one for issuer in _issuers(ca) for one in issuer.chain]
    issuer = next((one for one in candidates if chain.issued(certificate, one)), None)
    if issuer is None or chain.is_self_issued(certificate):
        raise SignerError(
            "ca.verify-failed", f"{file} was not issued by this CA, so it cannot revoke it"
        )
    return _of_certificate(certificate, issuer, reason)


def _intermediates(
    journal: SqliteJournal, station: str, reason: str, ca: str | None
) -> list[rec.RevokeCertificate]:
    """The intermediates that only this station signed with: whoever has the bench has their key."""
    everybody, own = (
        certificates.issuers_of(journal),
        certificates.issuers_of(journal, station=station),
    )
    why = "cACompromise" if reason == "keyCompromise" else reason
    return [
        _of_certificate(one.chain[0], one.chain[1], why)
        for one in _issuers(ca)
        if own.get(one.sha256, 0) == everybody.get(one.sha256) and len(one.chain) > 1
    ]


def _issuers(ca: str | None) -> Sequence[Any]:
    try:
        return all_issuers(ca_common.folder_of(ca))
    except SignerError as error:
        if error.code == "ca.not-found":
            return ()
        raise


def _issuer_certificate(named: str, ca: str | None) -> x509.Certificate:
    folder = ca_common.folder_of(ca)
    issuers = all_issuers(folder)
    return issuers[0].chain[-1] if named == "root" else find_issuer(folder, named).certificate


@dataclass(frozen=True, slots=True)
class CrlOptions:
    """Options of `ca crl`: `issuer` is `current`, `root`, or what names an older issuer; `days`
    until nextUpdate.
    """

    out: Path | None = None
    issuer: str = "current"
    days: int = DEFAULT_DAYS
    der: bool = False
    new: bool = False
    ca: str | None = None
    root_key: Path | None = None


def crl(options: CrlOptions, passphrase: PassphraseOptions) -> OperationResult:
    """Sign the list of what is revoked; while nothing changed and it is fresh the last one is given
    out again.
    """
    if not 1 <= options.days <= 3650:
        raise UsageError("usage.bad-option", f"--days is 1 to 3650, not {options.days}")
    if options.out is not None:
        ca_common.check_writable(options.out, replaces=REVOCATION_FILES)
    signer = _crl_signer(options, passphrase)
    folder = ca_common.folder_of(options.ca) / _CRLS
    with ca_common.recorded("ca crl") as journal:
        made, already = _made(journal, signer, options, folder)
    pem = made.pem
    if options.out is not None:
        ca_common.write(options.out, made.der if options.der else pem)
    name = signer.chain[0].subject.rfc4514_string()
    data = {
        "issuer": name,
        "issuerSha256": issuing.issuer_id(signer),
        "number": made.number,
        "thisUpdate": made.this_update,
        "nextUpdate": made.next_update,
        "entries": made.entries,
        "sha256": made.sha256,
        "already": already,
        "out": str(options.out.absolute()) if options.out else None,
        "file": str(_kept(folder, signer)),
    }
    state = "unchanged" if already else "new"
    return OperationResult(
        "ca crl",
        data,
        human=(
            f"CRL {made.number} ({state}) of {name}: {plural(made.entries, 'certificate')}, next"
            f" update {made.next_update:%Y-%m-%d}, in {options.out or _kept(folder, signer)}"
        ),
    )


def _crl_signer(options: CrlOptions, passphrase: PassphraseOptions) -> Signer:
    folder = ca_common.folder_of(options.ca)
    if options.issuer == "root":
        from infuse_cli.pki.issuers import root_key_path

        root_key_path(folder, options.root_key)  # before a passphrase is asked for
        return load_root(
            folder,
            options.root_key,
            ca_common.passphrase(options.ca, passphrase),
            now=datetime.now(UTC),
        )
    issuer = find_issuer(folder, options.issuer)
    return load_issuer(
        issuer.folder,
        ca_common.passphrase(options.ca, passphrase, what=ca_common.secret_name(issuer)),
    )


def _made(
    journal: SqliteJournal, signer: Signer, options: CrlOptions, folder: Path
) -> tuple[MadeCrl, bool]:
    """Of several processes at once each gets a number of its own: who comes second signs again."""
    issuer = issuing.issuer_id(signer)
    for _ in range(_TRIES):
        now = datetime.now(UTC)
        issuing.check_clock(now, None, journal.newest())
        last = certificates.newest_crl(journal, issuer)
        entries = _entries(certificates.revocations(journal, issuer), last)
        if (
            last is not None
            and not options.new
            and (kept := _still_good(last, entries, now, options.days, _kept(folder, signer)))
            is not None
        ):
            return kept, True
        made = make_crl(
            signer,
            entries,
            number=1 if last is None else last.number + 1,
            now=now,
            life=timedelta(days=options.days),
        )
        try:
            journal.commit(
                rec.StoreCrl(
                    issuer=issuer,
                    number=made.number,
                    this_update=made.this_update,
                    next_update=made.next_update,
                    sha256=made.sha256,
                    content=content_of(entries),
                    entries=made.entries,
                )
            )
        except JournalError as error:
            if error.code != "journal.raced":
                raise
            continue
        _keep(_kept(folder, signer), made)
        return made, False
    raise JournalError("journal.raced", "other processes make CRLs of this issuer all the time")


def _entries(revoked: Sequence[rec.RevocationRecord], last: rec.CrlRecord | None) -> list[Entry]:
    """An expired certificate leaves the list once it was in one that was made after its end (RFC
    5280 §3.3).
    """
    told = None if last is None else last.this_update
    return [
        Entry(one.serial, one.at, one.reason)
        for one in revoked
        if told is None or one.not_after is None or one.not_after >= told
    ]


def _still_good(
    last: rec.CrlRecord, entries: Sequence[Entry], now: datetime, days: int, path: Path
) -> MadeCrl | None:
    """The last list, where it says what a new one would, is not half through its life, and is whole
    on disk.
    """
    life = last.next_update - last.this_update
    if (
        last.content != content_of(entries)
        or now > last.this_update + life / 2
        or (life.days != days and life.days > days)
    ):
        return None
    try:
        found = MadeCrl(
            read_bounded(path, MAX_CRL),
            last.number,
            last.this_update,
            last.next_update,
            last.entries,
        )
    except OSError:
        return None
    return found if found.sha256 == last.sha256 else None


def _kept(folder: Path, signer: Signer) -> Path:
    return folder / f"{issuing.issuer_id(signer)[:16]}.crl"


def _keep(path: Path, made: MadeCrl) -> None:
    try:
        private_folder(path.parent)
        write_atomic(path, made.der, PRIVATE)
    except OSError as error:
        raise SignerError(
            "ca.broken",
            f"{path} cannot be written: {error.strerror}",
            hint="Check the folder's permissions and the room on the disk.",
        ) from None


MAX_CRL: Final = 64 << 20
"""Most bytes of a CRL that is read back: over a million entries."""
