"""`ports.SpillStore` on a private SQLite file that is deleted when it is closed."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_PAGE: Final = 500


class DiskSpillStore:
    """Values by key.

    The empty name is a temporary file of SQLite's own, which a process that dies leaves nothing of.
    """

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._db: Final = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; CREATE TABLE kept (key PRIMARY KEY,"
            " value BLOB) WITHOUT ROWID;"
        )

    def put(self, values: Iterable[tuple[str | int, bytes]]) -> None:
        """Keep values; a key that is there already gets the new one."""
        with self._lock:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", values)
            self._db.execute("COMMIT")

    def get(self, key: str | int) -> bytes | None:
        """The value of a key, None without one."""
        with self._lock:
            row = self._db.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those of these keys that have a value; some hundred at a time."""
        marks = ", ".join("?" * len(keys))
        with self._lock:
            return dict(
                self._db.execute(
                    f"SELECT key, value FROM kept WHERE key IN ({marks})",  # noqa: S608
                    tuple(keys),
                ).fetchall()
            )

    def values(self) -> Iterator[bytes]:
        """All values in the order of their keys, read a page at a time."""
        rows, last = self._page("", ()), None
        while rows:
            yield from (value for _, value in rows)
            last = rows[-1][0]
            rows = self._page("WHERE key > ?", (last,))

    def _page(self, where: str, given: tuple[str | int, ...]) -> list[tuple[str | int, bytes]]:
        with self._lock:
            return self._db.execute(
                f"SELECT key, value FROM kept {where} ORDER BY key LIMIT {_PAGE}",  # noqa: S608
                given,
            ).fetchall()

    def close(self) -> None:
        """Forget all; safe to call twice."""
        with self._lock:
            self._db.close()
