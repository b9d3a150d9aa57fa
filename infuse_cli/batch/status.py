"""`infuse batch status`: what the journal knows of a file's rows."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult
from infuse_cli.records.rows import BEGUN, PARKED, RowOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from infuse_cli.config import model as prof
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records.rows import Row, RowRecord

COMMAND: Final = "batch status"
NOT_BEGUN: Final = "notBegun"
_STATES: Final = (*(outcome.value for outcome in RowOutcome), BEGUN, PARKED, NOT_BEGUN)
_MOST_ERRORS: Final = 10


def status(path: Path) -> OperationResult:
    """`infuse batch status`."""
    from infuse_cli.batch.source import open_rows
    from infuse_cli.config.source import load
    from infuse_cli.journal.store import open_journal

    settings = context.current()
    profile = None if settings.profile is None else load(settings.profile, settings.env).profile
    with open_rows(path) as file:
        summary = file.check()
        if not (settings.home / "journal.sqlite3").exists():
            return _result(path, Counter({NOT_BEGUN: summary.good}), [], [], bad=summary.bad)
        with open_journal(settings.home, create=False) as journal:
            counts, runs, errors = _counted(journal, file.rows(), profile)
            told = [_run(journal, run) for run in runs]
    return _result(path, counts, told, errors, bad=summary.bad)


def _counted(
    journal: SqliteJournal, rows: Iterator[Row], profile: prof.Profile | None
) -> tuple[Counter[str], list[str], list[dict[str, Any]]]:
    counts: Counter[str] = Counter()
    runs: dict[str, None] = {}
    errors: list[dict[str, Any]] = []
    for row in rows:
        record = _newest(journal, row, profile)
        counts[NOT_BEGUN if record is None else record.state] += 1
        if record is None:
            continue
        runs[record.run] = None
        if record.error is not None:
            errors = [
                *errors,
                {"line": row.line, "mcuId": row.mcu_id, "state": record.state, **record.error},
            ][-_MOST_ERRORS:]
    return counts, list(runs), errors


def _newest(journal: SqliteJournal, row: Row, profile: prof.Profile | None) -> RowRecord | None:
    """The record of a row, that of the profile's organisation and soc where it names them."""
    from infuse_cli.journal.rows import of_chip

    organisation, soc = (
        (None, None) if profile is None else (profile.cloud.organisation.id, profile.board.soc)
    )
    fitting = [
        record
        for record in of_chip(journal, row.mcu_id)
        if organisation in {None, record.organisation}
        and (soc is None or soc.lower() == record.soc.lower())
    ]
    return fitting[-1] if fitting else None


def _run(journal: SqliteJournal, run: str) -> dict[str, Any]:
    found = journal.run(run)
    return {
        "run": run,
        "started": found.started,
        "ended": found.ended,
        "alive": found.alive,
        "file": found.start.facts.get("file"),
        "totals": found.totals,
    }


def _result(
    path: Path,
    counts: Counter[str],
    runs: list[dict[str, Any]],
    errors: list[dict[str, Any]],
    *,
    bad: int,
) -> OperationResult:
    totals = {state: counts[state] for state in _STATES}
    data = {"file": str(path), "totals": totals, "bad": bad, "runs": runs, "lastErrors": errors}
    return OperationResult(COMMAND, data, human=_shown(data))


def _shown(data: dict[str, Any]) -> Callable[[Any], None]:
    words = {**data["totals"], **({"bad lines": data["bad"]} if data["bad"] else {})}

    def show(console: Any) -> None:  # noqa: ARG001 - written plainly, so that no line is wrapped
        lines = [
            f"{'not begun' if name == NOT_BEGUN else name} {count}"
            for name, count in words.items()
            if count or name in {"created", "existed"}
        ]
        lines += [
            f"run {run['run'][:8]} of {run['started']:%Y-%m-%d %H:%M}"
            f" UTC{' is under way' if run['alive'] else '' if run['ended'] else ' was broken off'}"
            for run in data["runs"]
        ]
        lines += [
            f"line {error['line']} mcuId {error['mcuId']} {error['state']}: {error['message']}"
            for error in data["lastErrors"]
        ]
        sys.stdout.write("\n".join(lines) + "\n")

    return show
