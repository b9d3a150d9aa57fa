"""Rows counted: totals, what stops a batch, and the exit code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import CODES, Exit, InfuseError
from infuse_cli.records.rows import RowOutcome

if TYPE_CHECKING:
    from infuse_cli.batch.model import EndedRow

GOOD: Final = frozenset({RowOutcome.CREATED, RowOutcome.EXISTED})


@dataclass(slots=True)
class Totals:
    """Outcomes so far; `first` has for each error code the first row with it and their number."""

    counts: dict[RowOutcome, int] = field(default_factory=lambda: dict.fromkeys(RowOutcome, 0))
    first: dict[str, tuple[EndedRow, int]] = field(default_factory=dict)
    skipped: int = 0

    def add(self, row: EndedRow) -> None:
        """Count a row."""
        self.counts[row.outcome] += 1
        if row.error is not None:
            code = row.error["code"]
            first, count = self.first.get(code, (row, 0))
            self.first[code] = (first, count + 1)

    @property
    def rows(self) -> int:
        """Rows that came to an end."""
        return sum(self.counts.values())

    @property
    def failures(self) -> int:
        """Rows that are neither created nor existed."""
        return self.rows - sum(self.counts[outcome] for outcome in GOOD)

    def by_name(self) -> dict[str, int]:
        """The counts by the names of the outcomes."""
        return {outcome.value: count for outcome, count in self.counts.items()}

    def errors(self) -> list[InfuseError]:
        """One error a code: that of the first row with it, and how many more had it."""
        return [_first_error(row, count) for row, count in self.first.values()]

    def exit_code(self, *, left: int, interrupted: bool, stopped_by: InfuseError | None) -> Exit:
        """0 only when every row is created or existed.

        What stopped all has its own code; one row has its own, several have 11.
        """
        if interrupted:
            return Exit.INTERRUPTED
        if stopped_by is not None:
            return stopped_by.exit
        if not self.failures and not self.skipped and not left:
            return Exit.OK
        if self.rows + self.skipped + left == 1 and self.first:
            return CODES[next(iter(self.first))].exit
        return Exit.SOME_FAILED

    def status(self, code: Exit) -> str:
        """Status of the envelope: ok, partial where any row is well, else error."""
        if code is Exit.OK:
            return "ok"
        return "partial" if self.rows > self.failures else "error"


def _first_error(row: EndedRow, count: int) -> InfuseError:
    error = row.error or {}
    message = f"line {row.line}, mcuId {row.mcu_id}: {error['message']}"
    if count > 1:
        others = "1 more row" if count == 2 else f"{count - 1} more rows"
        message += f" (and {others} with this error: see the report)"
    return InfuseError(error["code"], message, hint=error["hint"], board_safe=error["boardSafe"])
