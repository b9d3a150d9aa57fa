"""Row files: the CSV of a batch, read twice in flat memory (`infuse batch`).

The first reading, `check`, finds everything that is wrong with the file; the second, `rows`, hands
the rows out, and stops before the first byte that is not as it was when it was checked. A line is
known by its number, from 1.

    with open_rows(path) as file:
        summary = file.check(rules_of(profile, board.metadata_fields))
        for row in file.rows():
            ...

Columns, their rules and every refusal: docs/reference/batch-file.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, Self

from infuse_cli.batch.source.cells import Vetting
from infuse_cli.batch.source.header import METADATA, SEPARATORS, Header, read_header
from infuse_cli.batch.source.index import Index
from infuse_cli.batch.source.lines import Seal, changed, read_chunks, split
from infuse_cli.batch.source.rules import Rules, rules_of
from infuse_cli.errors import Interrupted, UsageError
from infuse_cli.records.rows import BadRow, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["RowFile", "Rules", "Summary", "open_rows", "rules_of"]

_NAMED: Final = 5
"""Bad lines that an error names; all are in `troubles`."""

_BLANK: Final = ' \t,;"'
"""What a line without values is made of: spreadsheets write a separator for every empty cell."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a whole file holds.

    `good` and `bad` count lines; `named` are the good ones that want a token.
    """

    good: int
    bad: int
    named: int
    sha256: str
    columns: tuple[str, ...]
    separator: str
    """`comma`, `semicolon` or `tab`."""

    @property
    def lines(self) -> int:
        """All lines but the header."""
        return self.good + self.bad


def open_rows(path: Path) -> RowFile:
    """Open a row file and read its header; nothing else is read yet.

    Raises UsageError batch.unreadable, batch.encoding, batch.header, batch.empty, naming file and
    line.
    """
    return RowFile(path)


class RowFile:
    """A batch file. Used by one thread at a time; `close` it, or use it in a `with`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: Header = read_header(split(read_chunks(path), str(path)), str(path))
        self._index = Index()
        self._seal: Seal | None = None
        self._rules = Rules()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the index back; safe to call twice."""
        self._index.close()

    def check(
        self, rules: Rules | None = None, *, stopped: Callable[[], bool] = lambda: False
    ) -> Summary:
        """Read the whole file and find everything that is wrong with it; once a file.

        A file without a single row raises UsageError batch.empty, one that changed since its header
        was read batch.file-changed. `stopped` is asked now and then; True ends the reading with
        `run.interrupted`.
        """
        self._rules, seal, rows = rules or Rules(), Seal(), 0
        lines = self._body(seal.add(_until(read_chunks(self.path), stopped)))
        for found in self._vetted(lines):
            rows += 1
            self._index.blame(self._doubled(found) if isinstance(found, Row) else found)
        bad = self._index.bad()
        if not rows:
            raise UsageError("batch.empty", f"{self.path} has a header and no rows")
        self._seal = seal
        return Summary(
            rows - bad,
            bad,
            self._index.count_good("name"),
            seal.sha256,
            self.header.columns,
            SEPARATORS[self.header.separator],
        )

    def must_be_clean(self, summary: Summary, *, skip_bad: bool = False) -> None:
        """Raise UsageError batch.bad-rows, naming the first bad lines, unless they may be skipped
        and a good row is left.
        """
        if not summary.bad or (skip_bad and summary.good):
            return
        named = "; ".join(_sentence(bad) for bad in islice(self.troubles(), _NAMED))
        what = f"{summary.bad} of {summary.good + summary.bad} lines cannot be taken"
        hint = None if summary.good else "Not a single line can be taken: correct the file first."
        raise UsageError(
            "batch.bad-rows",
            f"{self.path}: {what}: {named}{'; …' if summary.bad > _NAMED else ''}",
            hint=hint,
        )

    def troubles(self) -> Iterator[BadRow]:
        """What `check` found wrong, by line; a line may have several."""
        return self._index.troubles()

    def rows(self) -> Iterator[Row]:
        """The good rows, in the order of the file; bad lines are left out. Call `check` first.

        `metadata` has what the rules add (constants of the profile, the mcuId). Raises UsageError
        batch.file-changed before any row of a piece that is not as it was.
        """
        if self._seal is None:
            raise ValueError("check comes before rows")
        doubtful = self._index.bad() > 0
        for found in self._vetted(self._body(self._seal.check(read_chunks(self.path), self.path))):
            if isinstance(found, Row) and not (doubtful and self._index.is_bad(found.line)):
                yield found

    def _body(self, chunks: Iterator[bytes]) -> Iterator[tuple[int, str | None]]:
        """The lines behind the header."""
        lines = split(chunks, str(self.path))
        if read_header(lines, str(self.path)) != self.header:
            raise changed(self.path)
        return lines

    def _vetted(
        self, lines: Iterator[tuple[int, str | None]]
    ) -> Iterator[Row | tuple[BadRow, ...]]:
        """A row, or what is wrong, for each line; blank lines at the end are fine, between rows
        they are not.
        """
        vetting, blank = Vetting(self.header, self._rules), 0
        for number, text in lines:
            if text is not None and not text.strip(_BLANK):
                blank = blank or number
                continue
            if blank:
                yield (
                    BadRow(
                        line=blank,
                        field=None,
                        why="the line is blank, and rows follow: is one missing?",
                        code="batch.line",
                    ),
                )
                blank = 0
            yield vetting.row(number, text)

    def _doubled(self, row: Row) -> list[BadRow]:
        """Blame a row and the one before it for a value that may be there only once: nobody knows
        which is meant.
        """
        troubles: list[BadRow] = []
        for field, value in self._single(row):
            before = self._index.first(field, value, row.line)
            if before is None:
                continue
            troubles.append(_double(row.line, field, value, before))
            if not self._index.is_bad(before):
                troubles.append(_double(before, field, value, row.line))
        return troubles

    def _single(self, row: Row) -> Iterator[tuple[str, str]]:
        for field, value in (
            ("mcuId", row.mcu_id),
            ("deviceId", row.device_id),
            ("name", row.name),
            ("publicKey", row.public_key),
        ):
            if value is not None:
                yield field, value
        for name in self._rules.unique:
            if name in row.metadata:
                yield METADATA + name, row.metadata[name]


def _sentence(bad: BadRow) -> str:
    """What is wrong with a line, in a sentence that begins with its number."""
    place = f"line {bad.line}, {bad.field}" if bad.field else f"line {bad.line}"
    return f"{place}: {bad.why}"


def _double(line: int, field: str, value: str, other: int) -> BadRow:
    return BadRow(
        line=line, field=field, why=f"{value!r} is in line {other} too", code="batch.duplicate"
    )


def _until(chunks: Iterator[bytes], stopped: Callable[[], bool]) -> Iterator[bytes]:
    for chunk in chunks:
        if stopped():
            raise Interrupted
        yield chunk
