"""The lists of revoked certificates (CRL, RFC 5280 §5) of a CA's issuers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from infuse_cli import records as rec
from infuse_cli.ca import common
from infuse_cli.effects.results import REVOCATION_FILES
from infuse_cli.errors import JournalError, SignerError, UsageError
from infuse_cli.files import PRIVATE, private_folder, read_bounded, write_file
from infuse_cli.journal import certificates
from infuse_cli.pki import issuing
from infuse_cli.pki.crl import Entry, MadeCrl, content_of, make_crl
from infuse_cli.pki.issuers import find_issuer, load_issuer, load_root, root_key_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from infuse_cli.ca.authority import CertificateAuthority
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.ports import Signer

DEFAULT_DAYS: Final = 30
MAX_CRL: Final = 64 << 20
"""Most bytes of a CRL that is read back: over a million entries."""
_FOLDER: Final = "crl"
_MOST_TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class CrlRequest:
    """Which list: `issuer` is `current`, `root`, or what names an older issuer; `days` until
    nextUpdate; `new` also where the last list still says it all; `der` instead of PEM in `out`.
    """

    out: Path | None = None
    issuer: str = "current"
    days: int = DEFAULT_DAYS
    der: bool = False
    new: bool = False
    root_key: Path | None = None


@dataclass(frozen=True, slots=True)
class SignedCrl:
    """A list: the file in the CA's folder has it in DER; `already`: it was made before."""

    crl: MadeCrl = field(repr=False)
    issuer_name: str
    issuer: str
    already: bool
    file: Path
    out: Path | None = None


def sign_crl(authority: CertificateAuthority, request: CrlRequest) -> SignedCrl:
    """Sign the list of what is revoked; while nothing changed and it is fresh the last one is given
    out again.

    Raises SignerError, JournalError, UsageError.
    """
    settings = authority.settings
    if not 1 <= request.days <= 3650:
        raise UsageError("usage.bad-option", f"--days is 1 to 3650, not {request.days}")
    if request.out is not None:
        common.check_writable(settings, request.out, replaces=REVOCATION_FILES)
    signer = _signer(authority, request)
    file = authority.folder / _FOLDER / f"{issuing.issuer_id(signer)[:16]}.crl"
    with common.ca_run(settings, "ca crl") as journal:
        made, already = _made(journal, signer, request, file)
    if request.out is not None:
        data = made.der if request.der else made.pem
        common.write(settings, request.out, data, replaces=REVOCATION_FILES)
    return SignedCrl(
        made,
        signer.chain[0].subject.rfc4514_string(),
        issuing.issuer_id(signer),
        already,
        file,
        request.out,
    )


def _signer(authority: CertificateAuthority, request: CrlRequest) -> Signer:
    folder = authority.folder
    if request.issuer == "root":
        root_key_path(folder, request.root_key)  # before a passphrase is asked for
        return load_root(folder, request.root_key, authority.passphrase(), now=datetime.now(UTC))
    issuer = find_issuer(folder, request.issuer)
    what = "CA passphrase" if issuer.key_uri is None else "PIN of the CA's token"
    return load_issuer(issuer.folder, authority.passphrase(what))


def _made(
    journal: SqliteJournal, signer: Signer, request: CrlRequest, file: Path
) -> tuple[MadeCrl, bool]:
    """Of several processes at once each gets a number of its own: who comes second signs again."""
    issuer = issuing.issuer_id(signer)
    for _ in range(_MOST_TRIES):
        now = datetime.now(UTC)
        issuing.check_clock(now, None, journal.newest())
        last = certificates.newest_crl(journal, issuer)
        entries = _entries(certificates.revocations(journal, issuer), last)
        if last is not None and not request.new:
            still_good = _still_good(last, entries, now, request.days, file)
            if still_good is not None:
                return still_good, True
        number = 1 if last is None else last.number + 1
        made = make_crl(signer, entries, number=number, now=now, life=timedelta(days=request.days))
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
            if error.code != "journal.conflict":
                raise
            continue
        _store(file, made)
        return made, False
    raise JournalError("journal.conflict", "other processes make CRLs of this issuer all the time")


def _entries(revoked: Sequence[rec.RevocationRecord], last: rec.CrlRecord | None) -> list[Entry]:
    """An expired certificate leaves the list once it was in one that was made after its end (RFC
    5280 §3.3).
    """
    listed_until = None if last is None else last.this_update
    return [
        Entry(row.serial, row.at, row.reason)
        for row in revoked
        if listed_until is None or row.not_after is None or row.not_after >= listed_until
    ]


def _still_good(
    last: rec.CrlRecord, entries: Sequence[Entry], now: datetime, days: int, file: Path
) -> MadeCrl | None:
    """The last list, where it says what a new one would, is not half through its life, and is whole
    on disk.
    """
    life = last.next_update - last.this_update
    is_changed = last.content != content_of(entries)
    if is_changed or now > last.this_update + life / 2 or life.days > days:
        return None
    try:
        der = read_bounded(file, MAX_CRL)
    except OSError:
        return None
    found = MadeCrl(der, last.number, last.this_update, last.next_update, last.entries)
    return found if found.sha256 == last.sha256 else None


def _store(file: Path, made: MadeCrl) -> None:
    try:
        private_folder(file.parent)
        write_file(file, made.der, PRIVATE)
    except OSError as error:
        raise SignerError(
            "ca.corrupt",
            f"{file} cannot be written: {error.strerror}",
            hint="Check the folder's permissions and the room on the disk.",
        ) from None
