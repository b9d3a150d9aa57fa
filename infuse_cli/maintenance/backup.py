"""Backups of a journal: a verified copy, and taking one in."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from infuse_cli import failpoint
from infuse_cli.config.bench import load_bench, login_name
from infuse_cli.effects.journal_run import journal_run, run_start
from infuse_cli.effects.results import BACKUP_FILES, Results
from infuse_cli.errors import JournalError, UsageError
from infuse_cli.files import is_folder, private_folder, replace_file, sync_file, sync_folder
from infuse_cli.journal.audit import corrupt_error
from infuse_cli.journal.backup import Relation, compare
from infuse_cli.journal.database import FILE
from infuse_cli.journal.store import open_journal
from infuse_cli.maintenance.alone import require_alone
from infuse_cli.records.notes import NoteKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.keys.file_passphrase import FilePassphrase
    from infuse_cli.settings import Settings
    from infuse_cli.types import Secret

SEALED: Final = b"infuse-journal-backup 1\n"
"""Begins a sealed backup."""

PLAIN: Final = b"SQLite format 3\x00"
"""Begins a journal or a plain copy of one."""

_PREFIX: Final = ".infuse-copy-"
_STALE_S: Final = 3600.0  # a copy that is this old is nobody's work any more


@dataclass(frozen=True, slots=True)
class Held:
    """How much a journal holds: its events, and the stations whose chains are in it."""

    events: int
    stations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy that was verified and is in its place; `sha256` is the file's, in hex."""

    out: Path
    sealed: bool
    sha256: str
    station: str
    held: Held


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that was taken in, or was not needed: the journal here holds all of it.

    `before` are the events that were here.
    """

    file: Path
    imported: bool
    before: int
    held: Held


def backup(
    settings: Settings, out: Path, passphrase: FilePassphrase, *, seal: bool = False
) -> Backup:
    """Make a verified copy as of one moment, 0600; an older backup of that name is replaced only
    once the copy is whole.

    A passphrase that was given, or `seal`, seals it. Raises UsageError usage.bad-option for a place
    that cannot take it, JournalError, CredentialError.
    """
    sealing = seal or passphrase.given
    target = _target(settings, out, sealed=sealing)
    secret = passphrase.get(str(target), new=True) if sealing else None
    with _private_folder(target.parent, target) as folder:
        with open_journal(settings.home, operator=login_name(), create=False) as journal:
            journal.copy_to(folder / FILE)
            station = journal.station
        held = _verified(folder, folder / FILE)
        part = folder / FILE if secret is None else _sealed(folder, secret)
        digest = _digest(part)
        _put(part, target)
    return Backup(target, sealing, digest, station, held)


def _sealed(folder: Path, secret: Secret) -> Path:
    from infuse_cli.keys import sealed_file

    part = folder / "sealed"
    _convert(
        folder / FILE, part, lambda source, into: sealed_file.seal(source, into, secret, SEALED)
    )
    return part


def restore(
    settings: Settings, path: Path, passphrase: FilePassphrase, *, sealed: bool
) -> Restored:
    """Take a backup in: into an empty home, or over a journal that the backup continues.

    Raises JournalError journal.diverged, journal.corrupt, journal.conflict, UsageError.
    """
    home = settings.home
    secret = passphrase.get(str(path)) if sealed else None
    digest = _digest(path)
    private_folder(home)
    with _private_folder(home, home) as folder:
        _unpack(path, folder / FILE, secret)
        held = _verified(folder, path)
        with (
            open_journal(home, operator=login_name()) as here,
            open_journal(folder, station=here.station, create=False) as copy,
        ):
            before = here.event_count()
            require_alone(here)
            _require_sound(here)
            if not _continues(here, copy, path):
                return Restored(path, imported=False, before=before, held=held)
            failpoint.hit("before:import")
            here.restore_from(copy)
            failpoint.hit("imported")
    _record(home, digest, before, held)
    return Restored(path, imported=True, before=before, held=held)


def _continues(here: SqliteJournal, copy: SqliteJournal, path: Path) -> bool:
    """Whether the copy holds all that is here and more. Raises JournalError journal.diverged."""
    compared = compare(here, copy)
    if compared.relation is Relation.DIVERGED:
        raise JournalError(
            "journal.diverged",
            f"{path} does not hold event {compared.seq} of station {compared.station}"
            f" as it is in {here.path}, and that holds not all of {path}: chains are"
            " never merged",
        )
    return compared.relation is Relation.BEHIND


def _record(home: Path, digest: str, before: int, held: Held) -> None:
    with (
        open_journal(home, operator=login_name()) as here,
        journal_run(here, run_start("journal import", load_bench(home))) as run,
    ):
        run.note(
            NoteKind.JOURNAL_IMPORTED,
            sha256=digest,
            events=held.events,
            stations=list(held.stations),
            before=before,
        )


def _require_sound(journal: SqliteJournal) -> None:
    """A journal that does not hold is not compared with, nor written over: it may be all that is
    left of some boards.
    """
    if faults := journal.verify():
        error = corrupt_error(journal.path, faults)
        raise JournalError(
            error.code,
            error.message,
            details=error.details,
            hint=(
                f"Move {FILE} and what lies beside it with -wal and -shm to a safe place, then"
                " import again: into the empty home."
            ),
        )


def _verified(folder: Path, named: Path) -> Held:
    """Check the copy in a folder as `journal verify` does; how much it holds."""
    try:
        with open_journal(folder, station="copy", create=False) as copy:
            if faults := copy.verify():
                raise corrupt_error(named, faults)
            return Held(copy.event_count(), tuple(sorted(copy.heads())))
    except JournalError as error:
        raise JournalError(
            error.code, error.message.replace(str(folder / FILE), str(named)), details=error.details
        ) from None


def _target(settings: Settings, out: Path, *, sealed: bool) -> Path:
    """Where a backup goes: the file, or a dated name in a folder. Raises UsageError."""
    if is_folder(out):
        return (
            out / f"journal-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{'sealed' if sealed else 'sqlite3'}"
        )
    Results(settings).check(out, option="FILE", replaces=BACKUP_FILES)
    if not is_folder(out.absolute().parent):
        raise UsageError("usage.bad-option", f"{out} is in a folder that does not exist")
    return out


@contextmanager
def _private_folder(parent: Path, named: Path) -> Iterator[Path]:
    """A private folder on the same disk, gone afterwards; what a killed process left goes too."""
    horizon = time.time() - _STALE_S
    for left in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if left.stat().st_mtime < horizon:
                shutil.rmtree(left, ignore_errors=True)
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    except OSError as error:
        raise UsageError(
            "usage.bad-option", f"{named} cannot be written: {error.strerror}"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(path: Path, copy: Path, secret: Secret | None) -> None:
    if secret is None:
        _convert(path, copy, shutil.copyfileobj)
        return
    from infuse_cli.keys import sealed_file

    _convert(path, copy, lambda source, into: sealed_file.unseal(source, into, secret, SEALED))


def _convert(source: Path, target: Path, work: Callable[[BinaryIO, BinaryIO], object]) -> None:
    try:
        with (
            source.open("rb") as from_,
            os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as into,
        ):
            work(from_, into)
            into.flush()
            sync_file(into.fileno())
    except OSError as error:
        raise JournalError(
            "journal.disk-full", f"{target.parent} cannot be written: {error.strerror}"
        ) from error


def _put(part: Path, target: Path) -> None:
    try:
        replace_file(part, target)
        with suppress(OSError):  # not every share can
            sync_folder(target.parent)
    except OSError as error:
        raise UsageError(
            "usage.bad-option", f"{target} cannot be written: {error.strerror}"
        ) from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
