"""What the journal knows of a file's rows, without asking the cloud."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infuse_cli.batch.source import open_rows
from infuse_cli.records.rows import BEGUN, PARKED, RowOutcome

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from infuse_cli.config import model as prof
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import RunRecord
    from infuse_cli.records.rows import Row, RowRecord
    from infuse_cli.settings import Settings

NOT_BEGUN: Final = "notBegun"
STATES: Final = (*(outcome.value for outcome in RowOutcome), BEGUN, PARKED, NOT_BEGUN)
_ERRORS: Final = 10


@dataclass(frozen=True, slots=True)
class FileStatus:
    """The rows of a file by their recorded state, the runs that had them, and the last errors.

    `failed` are the last rows with an error, each with its line in this file.
    """

    file: Path
    totals: Mapping[str, int]
    bad: int
    runs: tuple[RunRecord, ...] = ()
    failed: tuple[tuple[int, RowRecord], ...] = ()


def status(settings: Settings, path: Path) -> FileStatus:
    """Count the file's rows by the state that the journal has.

    Raises UsageError batch.…, ProfileError, JournalError.
    """
    from infuse_cli.config.source import load
    from infuse_cli.journal.store import open_journal

    profile = None if settings.profile is None else load(settings.profile, settings.env).profile
    with open_rows(path) as file:
        summary = file.check()
        if not (settings.home / "journal.sqlite3").exists():
            return FileStatus(path, {NOT_BEGUN: summary.good}, summary.bad)
        counts: Counter[str] = Counter()
        runs: dict[str, None] = {}
        failed: deque[tuple[int, RowRecord]] = deque(maxlen=_ERRORS)
        with open_journal(settings.home, create=False) as journal:
            for row in file.rows():
                record = _newest(journal, row, profile)
                counts[NOT_BEGUN if record is None else record.state] += 1
                if record is None:
                    continue
                runs[record.run] = None
                if record.error is not None:
                    failed.append((row.line, record))
            records = tuple(journal.run(run) for run in runs)
    return FileStatus(path, counts, summary.bad, records, tuple(failed))


def _newest(journal: SqliteJournal, row: Row, profile: prof.Profile | None) -> RowRecord | None:
    """The newest record of a row, of the profile's organisation and soc where it names them."""
    from infuse_cli.journal.rows import of_chip

    organisation = None if profile is None else profile.cloud.organisation.id
    soc = None if profile is None else profile.board.soc
    fitting = [
        record
        for record in of_chip(journal, row.mcu_id)
        if organisation in {None, record.organisation}
        and (soc is None or soc.lower() == record.soc.lower())
    ]
    return fitting[-1] if fitting else None
