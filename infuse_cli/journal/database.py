"""The journal's file and its one connection.

One connection and one lock serve all threads: with 64 threads this was measured to be several times
faster than a connection each, and nobody waits long. Reads begin deferred, writes IMMEDIATE, so
that what a transaction read is still true when it writes.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.pool import StaticPool

from infuse_cli.errors import JournalError
from infuse_cli.files import private_folder
from infuse_cli.home import JOURNAL
from infuse_cli.journal import migrations
from infuse_cli.journal.failures import named
from infuse_cli.journal.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE: Final = JOURNAL
APPLICATION_ID: Final = 0x696E6675  # "infu", so that file(1) and a curious reader can tell
_PAUSE_S: Final = 0.02
_TURN_S: Final = 5.0  # how long other threads of this process may take before it is our turn
_SMALLEST: Final = (
    512  # one page; SQLite takes a shorter file for an empty one and would write over it
)


class Database:
    """An open journal file.

    `reading()` and `writing()` are transactions; both are exclusive between threads.
    """

    def __init__(self, path: Path, raw: sqlite3.Connection, busy_s: float) -> None:
        self.path: Final = path
        self._lock = threading.Lock()
        self._patience_s: Final = 2 * busy_s + _TURN_S
        self._begin = "BEGIN"
        self._raw: Final = raw
        self._engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool)
        event.listen(self._engine, "begin", self._on_begin)
        self._connection: Final = self._engine.connect()
        self._prepared: Final = Prepared(self._connection, raw)
        self._places: Final = {path: _file_id(path)}

    def _on_begin(self, _: Connection) -> None:
        self._raw.execute(
            self._begin
        )  # through the engine this one word would cost more than all else of a begin

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the journal."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is durable once this returns; an exception undoes all of it."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection
        self._check_place()

    @contextmanager
    def committing(self) -> Iterator[Prepared]:
        """As `writing`, for prepared statements alone and past the engine: of what the host adds to
        a commit it was a quarter.
        """
        with self._taken(), named(self.path):
            self._raw.execute("BEGIN IMMEDIATE")
            try:
                yield self._prepared
                self._raw.execute("COMMIT")
            finally:
                if self._raw.in_transaction:  # refused or broken off: nothing of it stays
                    self._raw.execute("ROLLBACK")
            self._check_place()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        with self._taken(), named(self.path):
            self._begin = begin
            with self._connection.begin():
                yield self._connection

    def _check_place(self) -> None:
        """Raise JournalError journal.moved where what is open is no longer what lies at the path.

        A system without mandatory locks lets an open file be removed or replaced: what is committed
        into it is gone with this process. Looked at after each commit, so before any effect that
        the commit announces and before any result that it records.
        """
        log = self.path.with_name(f"{self.path.name}-wal")
        if log not in self._places and log.exists():
            self._places[log] = _file_id(log)
        for path, opened in self._places.items():
            if _file_id(path) != opened:
                raise JournalError(
                    "journal.moved", f"{path} was removed, replaced or moved while it was in use"
                )

    def copy_to(self, path: Path) -> None:
        """Write all that is committed to a new file of its own (0600), as it stands at one moment;
        others may go on writing.
        """
        with self._taken(), named(path):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            with closing(sqlite3.connect(path, isolation_level=None)) as copy:
                self._raw.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")  # no second file beside the copy

    def restore_from(self, other: Database) -> None:
        """Take over all content of another journal in one transaction; what was here is gone."""
        with self._taken(), other._taken(), named(self.path):
            other._raw.backup(self._raw)

    @contextmanager
    def _taken(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=self._patience_s):
            raise JournalError(
                "journal.locked", f"{self.path} is locked: other slots wait for it too"
            )
        try:
            yield
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the file; what was committed is moved out of the write-ahead log where possible."""
        with self._lock, suppress(sqlite3.Error):
            self._connection.close()
            self._engine.dispose()


def _file_id(path: Path) -> tuple[int, int] | None:
    """Which file lies at a path, None for none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_database(home: Path, *, tool_version: str, create: bool, busy_s: float) -> Database:
    """Open INFUSE_HOME/journal.sqlite3, make or migrate it as needed.

    `busy_s` bounds the wait for another program's lock, in seconds. Raises JournalError:
    journal.not-found when it is missing and `create` is False, journal.locked, journal.read-only,
    journal.corrupt, journal.newer, journal.disk-full.
    """
    path = home / FILE
    with named(path):
        if create:
            _make(home, path)
        elif not path.exists():
            raise JournalError("journal.not-found", f"there is no journal in {home} yet")
        if path.is_file() and 0 < path.stat().st_size < _SMALLEST:
            raise JournalError(
                "journal.corrupt",
                f"{path} is not a journal, or is damaged: it has only {path.stat().st_size} bytes",
            )
        raw = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=busy_s,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _prepare(raw, busy_s)
            database = Database(path, raw, busy_s)
            _migrate(database, tool_version)
        except BaseException:
            raw.close()
            raise
    return database


def _make(home: Path, path: Path) -> None:
    private_folder(home)
    with suppress(PermissionError):
        if home.stat().st_mode & 0o077:
            home.chmod(0o700)
    try:
        # Never opened when it exists: closing a second descriptor would drop this process's locks
        # on it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        with suppress(PermissionError):
            if path.is_file() and path.stat().st_mode & 0o077:
                path.chmod(0o600)


def _prepare(raw: sqlite3.Connection, busy_s: float) -> None:
    _write_ahead(raw, time.monotonic() + busy_s)
    for pragma in (
        "synchronous=FULL",
        "fullfsync=ON",
        "checkpoint_fullfsync=ON",
        "secure_delete=ON",
        "foreign_keys=ON",
        "trusted_schema=OFF",
    ):
        raw.execute(f"PRAGMA {pragma}")


def _write_ahead(raw: sqlite3.Connection, give_up: float) -> None:
    """Switch to the write-ahead log; SQLite doesn't wait by itself when two processes do this at
    once.
    """
    pause = threading.Event()
    while True:
        try:
            raw.execute("PRAGMA journal_mode=WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if (
                error.sqlite_errorcode & 0xFF
            ) != sqlite3.SQLITE_BUSY or time.monotonic() >= give_up:
                raise
        pause.wait(_PAUSE_S)


def _migrate(database: Database, tool_version: str) -> None:
    where = str(database.path)
    with database.reading() as connection:
        if not migrations.pending(connection, where):
            return
    with database.writing() as connection:
        steps = migrations.pending(connection, where)
        migrations.apply(connection, steps, tool_version)
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")


def damage(connection: Connection) -> str | None:
    """What SQLite's own check of the whole file finds wrong, None when it is sound."""
    found: Any = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    return None if found == "ok" else str(found)
