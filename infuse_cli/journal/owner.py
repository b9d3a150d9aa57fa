"""Who owns a run: a lock that the kernel frees when the process dies, however it dies.

SQLite takes the operating system's lock on every platform, so the lock is an exclusive transaction
on a tiny SQLite file of its own, `INFUSE_HOME/locks/<run>.lock`, held open for the life of the run.
Whoever may not read that file knows that the owner lives. Reading shares, so that two who ask at
once don't take each other for the owner.

Guaranteed: `docs/reference/guarantees.md#one-owner-of-a-board`.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import JournalError
from infuse_cli.files import private_folder
from infuse_cli.journal.failures import named

if TYPE_CHECKING:
    from pathlib import Path

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_STALE_S: Final = 60.0  # a lock file younger than this may be about to be locked


class Owners:
    """The owner locks of a home: those that this object holds, and whether others are held.

    Safe between threads.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "locks"
        self._held: dict[str, sqlite3.Connection] = {}
        self._lock = threading.Lock()

    def path(self, run: str) -> Path:
        """Where the lock of a run is; a run id that is no plain word is hashed."""
        name = run if _PLAIN.fullmatch(run) else hashlib.sha256(run.encode()).hexdigest()
        return self._folder / f"{name}.lock"

    def holds(self, run: str) -> bool:
        """Whether this very object holds the lock of the run."""
        return run in self._held

    def hold(self, run: str) -> None:
        """Take the lock of a run.

        Raises JournalError journal.conflict when it is held, journal.read-only, journal.disk-full.
        """
        path = self.path(run)
        with self._lock, named(path):
            if run in self._held:
                raise JournalError("journal.conflict", f"run {run} is under way already")
            private_folder(self._folder)
            self._sweep()
            _create(path)
            connection = _connect(path)
            try:
                connection.execute("PRAGMA journal_mode=MEMORY")  # no second file beside the lock
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                connection.close()
                if not _is_busy(error):
                    raise
                raise JournalError(
                    "journal.conflict", f"run {run} is under way in another process"
                ) from error
            self._held[run] = connection

    def release(self, run: str) -> None:
        """Give the lock of a run back and remove its file; nothing happens when it is not held
        here.
        """
        with self._lock:
            connection = self._held.pop(run, None)
            if connection is not None:
                _end(connection, self.path(run))

    def release_all(self) -> None:
        """Give back every lock that is held here."""
        for run in tuple(self._held):
            self.release(run)

    def alive(self, run: str) -> bool:
        """Whether the owner of a run still lives, here or in any process of this machine; a dead
        one's file goes.
        """
        if run in self._held:
            return True
        path = self.path(run)
        if not path.exists():
            return False
        if _is_locked(path):
            return True
        _remove(path)
        return False

    def _sweep(self) -> None:
        """Remove what owners left that died before their run was on record."""
        horizon = time.time() - _STALE_S
        ours = {self.path(run) for run in self._held}
        for path in self._folder.glob("*.lock"):
            with suppress(OSError):
                if path not in ours and path.stat().st_mtime < horizon and not _is_locked(path):
                    _remove(path)


def _create(path: Path) -> None:
    # Only a file that did not exist may be opened here: closing a second descriptor of a locked
    # file would drop this process's POSIX locks on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
    )


def _is_locked(path: Path) -> bool:
    try:
        with closing(_connect(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        return _is_busy(error) or path.exists()  # what cannot be asked is taken for alive
    except sqlite3.DatabaseError:
        return False
    return False


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return (error.sqlite_errorcode & 0xFF) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _end(connection: sqlite3.Connection, path: Path) -> None:
    # Unlinking while locked leaves no moment in which another process could find a free file of a
    # live run;
    # Windows refuses to, and there the file goes after the lock.
    _remove(path)
    connection.close()
    _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
