"""Rows counted: totals, what stops a batch, and the exit code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.errors import CODES, Exit, InfuseError
from infuse_cli.records.rows import RowOutcome

if TYPE_CHECKING:
    from infuse_cli.batch.model import Ended

GOOD: Final = frozenset({RowOutcome.CREATED, RowOutcome.EXISTED})


@dataclass(slots=True)
class Tally:
    """Outcomes so far; `first` has for each error code the first row that met it, and how
    many did.
    """

    counts: dict[RowOutcome, int] = field(default_factory=lambda: dict.fromkeys(RowOutcome, 0))
    first: dict[str, tuple[Ended, int]] = field(default_factory=dict)
    skipped: int = 0

    def add(self, ended: Ended) -> None:
        """Count a row."""
        self.counts[ended.outcome] += 1
        if ended.error is not None:
            code = ended.error["code"]
            row, count = self.first.get(code, (ended, 0))
            self.first[code] = (row, count + 1)

    @property
    def rows(self) -> int:
        """Rows that came to an end."""
        return sum(self.counts.values())

    @property
    def failures(self) -> int:
        """Rows that are neither created nor existed."""
        return self.rows - sum(self.counts[outcome] for outcome in GOOD)

    def totals(self) -> dict[str, int]:
        """The envelope's totals."""
        return {outcome.value: self.counts[outcome] for outcome in RowOutcome}

    def errors(self) -> list[dict[str, Any]]:
        """One error object a code: the first row that met it, and how many more did."""
        return [
            {**(row.error or {}), "message": _said(row, count)}
            for row, count in self.first.values()
        ]

    def exit_code(self, *, left: int, interrupted: bool, trouble: InfuseError | None) -> Exit:
        """0 only when every row is created or existed; one row its own code, several 11, what
        stopped all its own.
        """
        if interrupted:
            return Exit.INTERRUPTED
        if trouble is not None:
            return trouble.exit
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


def _said(row: Ended, count: int) -> str:
    more = (
        ""
        if count == 1
        else (
            f" (and {count - 1} more {'row' if count == 2 else 'rows'} with this error: see the"
            " report)"
        )
    )
    return f"line {row.line}, mcuId {row.mcu_id}: {(row.error or {}).get('message', '')}{more}"
