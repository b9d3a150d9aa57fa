"""What was in a row file, on disk: values that may be there only once, and the lines that are bad.

A private SQLite database that is deleted when it is closed, so that 10 rows and 10 million take the
same memory.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from infuse_cli.records.rows import BadRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TABLES = """
PRAGMA journal_mode=OFF;
PRAGMA synchronous=OFF;
CREATE TABLE seen (
  field TEXT NOT NULL, value TEXT NOT NULL, line INTEGER NOT NULL, PRIMARY KEY (field, value)
) WITHOUT ROWID;
CREATE TABLE trouble (line INTEGER NOT NULL, field TEXT, why TEXT NOT NULL, code TEXT NOT NULL);
CREATE TABLE bad (line INTEGER PRIMARY KEY);
"""


class Index:
    """Values seen and bad lines of one file."""

    def __init__(self) -> None:
        # The empty name is a temporary file of SQLite's own; one thread at a time uses it, not
        # always the same.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.executescript(_TABLES)
        self._db.execute("BEGIN")

    def first(self, field: str, value: str, line: int) -> int | None:
        """Remember a value; the line that had it before, None where it is new."""
        if self._db.execute(
            "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (field, value, line)
        ).rowcount:
            return None
        row = self._db.execute(
            "SELECT line FROM seen WHERE field = ? AND value = ?", (field, value)
        ).fetchone()
        return int(row[0])

    def blame(self, troubles: Iterable[BadRow]) -> None:
        """Remember what is wrong, and that these lines are bad."""
        for bad in troubles:
            # Surrogates stand for bytes that are no text.
            why = bad.why.encode("utf-8", "backslashreplace").decode()
            self._db.execute(
                "INSERT INTO trouble VALUES (?, ?, ?, ?)", (bad.line, bad.field, why, bad.code)
            )
            self._db.execute("INSERT OR IGNORE INTO bad VALUES (?)", (bad.line,))

    def bad(self) -> int:
        """How many lines are bad."""
        return int(self._db.execute("SELECT count(*) FROM bad").fetchone()[0])

    def count_good(self, field: str) -> int:
        """How many good lines have a value in this field."""
        return int(
            self._db.execute(
                "SELECT count(*) FROM seen WHERE field = ? AND line NOT IN (SELECT line FROM bad)",
                (field,),
            ).fetchone()[0]
        )

    def is_bad(self, line: int) -> bool:
        """Whether anything is wrong with a line."""
        return self._db.execute("SELECT 1 FROM bad WHERE line = ?", (line,)).fetchone() is not None

    def troubles(self) -> Iterator[BadRow]:
        """What is wrong, by line."""
        found = self._db.execute("SELECT line, field, why, code FROM trouble ORDER BY line, rowid")
        return (
            BadRow(line=line, field=field, why=why, code=code) for line, field, why, code in found
        )

    def close(self) -> None:
        """Give the file back; safe to call twice."""
        self._db.close()
