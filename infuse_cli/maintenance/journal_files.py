"""Keeping a journal safe: copies of it, taking one in, and a new key for what it has sealed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from infuse_cli import failpoint
from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views.journal import broken
from infuse_cli.config.bench import login_name
from infuse_cli.effects.journal_run import CommandRun, journal_run, run_start
from infuse_cli.effects.results import BACKUP_FILES, Results
from infuse_cli.errors import JournalError, UsageError
from infuse_cli.files import is_folder, private_folder, replace_file, sync_file, sync_folder
from infuse_cli.journal.database import FILE
from infuse_cli.journal.store import open_journal
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.keys.file_passphrase import FilePassphrase
    from infuse_cli.keys.seal import Rekey

SEALED: Final = b"infuse-journal-backup 1\n"
"""Begins a sealed backup."""

PLAIN: Final = b"SQLite format 3\x00"
"""Begins a journal or a plain copy of one."""

_PREFIX: Final = ".infuse-copy-"
_STALE_S: Final = 3600.0  # a copy that is this old is nobody's work any more


def backup(out: Path, passphrase: FilePassphrase, *, seal: bool) -> OperationResult:
    """A verified copy as of one moment, 0600; it replaces an older one of that name only when it is
    whole.
    """
    sealing = seal or passphrase.given
    target = _target(out, sealed=sealing)
    secret = passphrase.get(str(target), new=True) if sealing else None
    with _folder(target.parent, target) as folder:
        with open_journal(context.current().home, operator=login_name(), create=False) as journal:
            journal.copy_to(folder / FILE)
            station = journal.station
        found = _verified(folder, folder / FILE)
        part = folder / FILE
        if secret is not None:
            from infuse_cli.keys import sealed_file

            part = folder / "sealed"
            _convert(
                folder / FILE,
                part,
                lambda source, into: sealed_file.seal(source, into, secret, SEALED),
            )
        digest = _digest(part)
        _put(part, target)
    data = {"out": target, "sealed": sealing, "sha256": digest, "station": station, **found}
    kind = "sealed copy" if sealing else "copy"
    return OperationResult(
        "journal backup",
        data,
        human=(
            f"{target}: {kind} of {plural(found['events'], 'event')}, verified, mode 0600\nSHA-256"
            f" {digest}"
        ),
    )


def restore(path: Path, passphrase: FilePassphrase, *, sealed: bool) -> OperationResult:
    """Take a backup in: into an empty home, or over a journal that the backup is a
    continuation of.
    """
    from infuse_cli.journal.backup import Relation, compare

    home = context.current().home
    secret = passphrase.get(str(path)) if sealed else None
    digest = _digest(path)
    private_folder(home)
    with _folder(home, home) as folder:
        _unpack(path, folder / FILE, secret)
        found = _verified(folder, path)
        with (
            open_journal(home, operator=login_name()) as here,
            open_journal(folder, station=here.station, create=False) as copy,
        ):
            before = here.event_count()
            _alone(here)
            _sound(here)
            compared = compare(here, copy)
            match compared.relation:
                case Relation.SAME | Relation.AHEAD:
                    more = {"imported": False, "before": before}
                    told = (
                        "Nothing to do: the journal here holds all"
                        f" {plural(found['events'], 'event')} of {path}."
                    )
                    return OperationResult(
                        "journal import", {"file": path, **found, **more}, human=told
                    )
                case Relation.DIVERGED:
                    raise JournalError(
                        "journal.diverged",
                        f"{path} does not hold event {compared.seq} of station {compared.station}"
                        f" as it is in {here.path}, and that holds not all of {path}: chains are"
                        " never merged",
                    )
                case Relation.BEHIND:
                    failpoint.hit("before:import")
                    here.become(copy)
                    failpoint.hit("imported")
        with (
            open_journal(home, operator=login_name()) as here,
            recorded(here, "journal import") as run,
        ):
            run.note(
                "journal imported",
                sha256=digest,
                events=found["events"],
                stations=found["stations"],
                before=before,
            )
    data = {"file": path, "imported": True, "before": before, **found}
    told = (
        f"{plural(found['events'], 'event')} of {path} taken in; there"
        f" {'was' if before == 1 else 'were'} {before} before."
    )
    return OperationResult(
        "journal import",
        data,
        human=f"{told}\nSecrets in it open only with the sealing key of the bench that wrote it.",
    )


def rekey() -> OperationResult:
    """A new data key: everything sealed is sealed anew. Killed at any point it is run again."""
    from infuse_cli.config.bench import load_bench
    from infuse_cli.keys.seal import Rekey, bench_keys

    settings = context.current()
    bench = load_bench(settings.home)
    sealing = {"key_file": bench.sealing.key_file, "keyring": bench.sealing.keyring}
    with open_journal(settings.home, operator=login_name(), create=False) as journal:
        change = Rekey(bench_keys(settings.home, sealing, settings.env))
        _alone(journal)
        return _rekeyed(journal, change)


def _rekeyed(journal: SqliteJournal, change: Rekey) -> OperationResult:
    with recorded(journal, "journal rekey") as run:
        _alone(
            journal
        )  # once more, now that others see this run: two that change the key at once would lose secrets
        sealer = change.sealer()
        failpoint.hit("rekey:next")

        def again(name: str, sealed: bytes) -> bytes:
            return sealer.seal(sealer.unseal(sealed, name), name)

        run.note("rekey begun")
        journal.reseal(again)
        failpoint.hit("rekey:resealed")
        change.promote()
        failpoint.hit("rekey:promoted")
        # First who may still hold the old key, then what was sealed under it: whoever ended in
        # between is in the second.
        kept = bool(_living(journal))
        failpoint.hit("rekey:asked")
        count = journal.reseal(again)
        if not kept:
            change.forget()
        run.note("rekeyed", secrets=count, oldKeyKept=kept)
    told = f"New sealing key; {plural(count, 'secret')} sealed anew."
    if kept:
        told += (
            "\nA run began meanwhile and may use the old key, so it was kept: run `infuse journal"
            " rekey` again after it."
        )
    return OperationResult("journal rekey", {"secrets": count, "oldKeyKept": kept}, human=told)


@contextmanager
def recorded(journal: SqliteJournal, command: str) -> Iterator[CommandRun]:
    """A run of an open journal for a command that needs no profile."""
    from infuse_cli.config.bench import load_bench

    start = run_start(command, load_bench(journal.path.parent))
    with journal_run(journal, start) as run:
        yield run


def _living(journal: SqliteJournal) -> list[str]:
    """Runs at work, other than those of this process's own keeping."""
    return [
        one.start.run for one in journal.runs() if one.alive and not journal.holds(one.start.run)
    ]


def _alone(journal: SqliteJournal) -> None:
    if living := _living(journal):
        raise JournalError(
            "journal.raced",
            f"run {living[0]} is under way here",
            hint="Let it finish, then run this again.",
        )


def _sound(journal: SqliteJournal) -> None:
    """A journal that does not hold is not compared with, nor written over: it may be all that is
    left of some boards.
    """
    if faults := journal.verify():
        error = broken(journal.path, faults)
        raise JournalError(
            error.code,
            error.message,
            details=error.details,
            hint=(
                f"Move {FILE} and what lies beside it with -wal and -shm to a safe place, then"
                " import again: into the empty home."
            ),
        )


def _verified(folder: Path, named: Path) -> dict[str, Any]:
    """Check the copy in a folder as `journal verify` does; how much it holds."""
    try:
        with open_journal(folder, station="copy", create=False) as copy:
            if faults := copy.verify():
                raise broken(named, faults)
            return {"events": copy.event_count(), "stations": sorted(copy.heads())}
    except JournalError as error:
        raise JournalError(
            error.code, error.message.replace(str(folder / FILE), str(named)), details=error.details
        ) from None


def _target(out: Path, *, sealed: bool) -> Path:
    """Where a backup goes: the file, or a dated name in a folder. Raises UsageError."""
    if is_folder(out):
        return (
            out / f"journal-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{'sealed' if sealed else 'sqlite3'}"
        )
    Results(context.current().settings).check(out, option="FILE", replaces=BACKUP_FILES)
    if not is_folder(out.absolute().parent):
        raise UsageError("usage.bad-option", f"{out} is in a folder that does not exist")
    return out


@contextmanager
def _folder(parent: Path, named: Path) -> Iterator[Path]:
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


def _unpack(path: Path, copy: Path, secret: Any) -> None:
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
