"""Rows of batches as the journal has them: those of a file, or all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from infuse_cli.batch.source import open_rows
from infuse_cli.errors import JournalError
from infuse_cli.journal import rows as journal_rows
from infuse_cli.records.rows import RowRecord  # noqa: TC001 - a dataclass names it

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from infuse_cli.journal.store import SqliteJournal

NOT_BEGUN = "not-begun"
"""Outcome of a row of the file that the journal does not know."""


@dataclass(frozen=True, slots=True)
class KnownRow:
    """A row: its record, None where the journal has none, and the tags that the file gives."""

    mcu_id: str
    record: RowRecord | None
    line: int | None = None
    tags: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """The recorded outcome."""
        return NOT_BEGUN if self.record is None else self.record.state


def known_rows(
    journal: SqliteJournal, file: Path | None, *, any_board: bool = False
) -> Iterator[KnownRow]:
    """The rows of a file in its order; without a file all in the journal, in the order of keys.

    Bad lines of the file are left out: nothing came of them. Raises UsageError batch.…,
    JournalError journal.not-found where the journal knows none of them as a batch's, unless boards
    of no batch are as good (`any_board`).
    """
    found = any_board and file is not None
    for row in _all(journal) if file is None else _of_file(journal, file):
        found = found or row.record is not None
        yield row
    if not found:
        raise JournalError(
            "journal.not-found",
            f"no row {'of a batch' if file is None else f'of {file}'} is on record",
            hint="`infuse batch register FILE.csv` puts them there.",
        )


def _all(journal: SqliteJournal) -> Iterator[KnownRow]:
    for record in journal_rows.rows(journal):
        yield KnownRow(record.mcu_id, record, tags=tuple(record.facts.get("tags", ())))


def _of_file(journal: SqliteJournal, file: Path) -> Iterator[KnownRow]:
    with open_rows(file) as source:
        source.must_be_clean(source.check(), skip_bad=True)
        for row in source.rows():
            for record in journal_rows.of_chip(journal, row.mcu_id) or (None,):
                yield KnownRow(row.mcu_id, record, row.line, row.tags)
