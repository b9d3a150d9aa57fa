"""What SQLite says when it cannot, as errors of the journal."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from infuse_cli.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Primary result codes (sqlite.org/rescode.html): journal code and what happened, after the file's
# name.
_CODES: Final[dict[int, tuple[str, str]]] = {
    sqlite3.SQLITE_BUSY: ("journal.locked", "is locked by another program"),
    sqlite3.SQLITE_LOCKED: ("journal.locked", "is locked by another program"),
    sqlite3.SQLITE_PROTOCOL: ("journal.locked", "is locked by another program"),
    sqlite3.SQLITE_READONLY: ("journal.read-only", "cannot be written"),
    sqlite3.SQLITE_PERM: ("journal.read-only", "cannot be written"),
    sqlite3.SQLITE_CANTOPEN: ("journal.read-only", "cannot be opened for writing"),
    sqlite3.SQLITE_CORRUPT: ("journal.corrupt", "is damaged"),
    sqlite3.SQLITE_NOTADB: ("journal.corrupt", "is not a journal, or is damaged"),
    sqlite3.SQLITE_FORMAT: ("journal.corrupt", "is damaged"),
    sqlite3.SQLITE_FULL: ("journal.disk-full", "cannot grow: the disk is full"),
    sqlite3.SQLITE_IOERR: ("journal.disk-full", "cannot be written: the disk is full or failing"),
}
_FULL: Final = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})


def of_sqlite(error: sqlite3.Error, path: Path) -> JournalError | None:
    """The journal's error for SQLite's, None for one that is a fault of the program."""
    code = getattr(error, "sqlite_errorcode", None)
    found = _CODES.get(code & 0xFF) if code is not None else None
    return JournalError(found[0], f"{path} {found[1]} ({error})") if found else None


def of_system(error: OSError, path: Path) -> JournalError:
    """The journal's error for what the operating system said."""
    code = "journal.disk-full" if error.errno in _FULL else "journal.read-only"
    return JournalError(code, f"{path} cannot be written: {error.strerror or error}")


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Turn SQLite's and the system's errors inside into JournalError, naming the file."""
    try:
        yield
    except DBAPIError as error:
        found = of_sqlite(error.orig, path) if isinstance(error.orig, sqlite3.Error) else None
        if found is None:
            raise
        raise found from error
    except sqlite3.Error as error:
        found = of_sqlite(error, path)
        if found is None:
            raise
        raise found from error
    except OSError as error:
        raise of_system(error, path) from error
