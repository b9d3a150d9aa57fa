"""`infuse journal`: what happened, board by board."""

from __future__ import annotations

import enum
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infuse_cli.journal.store import SqliteJournal

app = typer.Typer(help="What happened, board by board: list, show, summary, export.", no_args_is_help=True)


class Format(enum.StrEnum):
    """How rows are written."""

    CSV = "csv"
    JSON = "json"


class By(enum.StrEnum):
    """What a summary is grouped by."""

    RUN = "run"
    DAY = "day"
    PROFILE = "profile"


_Board = Annotated[str, typer.Argument(
    metavar="BOARD", show_default=False,
    help="UUID, serial number, IMEI, mcuId, device id of either cloud, certificate serial, attempt or run id.")]
_Run = Annotated[str | None, typer.Option("--run", metavar="RUN", help="Only this run: its id or the beginning of it.", show_default=False)]


@app.command("list")
def list_boards(
    *,
    only_open: Annotated[bool, typer.Option("--open", help="Only boards that a later run goes on with.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="The newest so many boards; 0 for all.")] = 50,
    run: _Run = None,
) -> None:
    """List the boards on record, each with its newest attempt; the last one was begun last."""
    from infuse_cli.cli import journal_views as views
    from infuse_cli.cli.result import OperationResult, finish
    from infuse_cli.journal import queries

    with _opened() as journal:
        found = [] if journal is None else queries.newest_attempts(journal, only_open=only_open, run=_run_id(journal, run))
    shown = found[-limit:] if limit else found
    data = {"boards": [views.brief(one) for one in shown], "total": len(found)}
    finish(OperationResult("journal list", data, human=lambda console: views.listed(console, shown, len(found), only_open=only_open)))


@app.command()
def show(
    board: _Board,
    *,
    events: Annotated[bool, typer.Option("--events", help="Also every event of the chain.")] = False,
) -> None:
    """Show everything on record about one board; the serial transcript too where an attempt failed."""
    from infuse_cli.cli import journal_views as views
    from infuse_cli.cli.result import OperationResult, finish

    with _there() as journal:
        record = views.record(journal, _one_board(journal, board))
    finish(OperationResult("journal show", record, human=lambda console: views.shown(console, record, events=events)))


@app.command()
def summary(
    *,
    by: Annotated[By, typer.Option(help="Group by run, day (local time) or profile.")] = By.RUN,
    run: _Run = None,
    day: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Only this day, local time.", show_default=False)] = None,
) -> None:
    """Totals, yield, first-pass yield, and what fails most. Boards are counted, not attempts."""
    from infuse_cli.cli import journal_views as views
    from infuse_cli.cli.result import OperationResult, finish
    from infuse_cli.journal import queries

    wanted = _date(day)
    with _opened() as journal:
        found = [] if journal is None else queries.summaries(journal, by=by.value, run=_run_id(journal, run), day=wanted)
    data = {"by": by.value, "groups": [views.summary_json(one) for one in found]}
    finish(OperationResult("journal summary", data, human=lambda console: views.summed(console, found, by.value)))


@app.command()
def export(
    *,
    format_: Annotated[Format, typer.Option("--format", help="csv or json.")] = Format.CSV,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Where to write it; default: standard output.", show_default=False)] = None,
) -> None:
    """One row a board: identity, ids, certificate, result, who, when, and its metadata."""
    from pathlib import Path

    from infuse_cli.cli import journal_views as views
    from infuse_cli.cli.result import OperationResult, finish
    from infuse_cli.journal import queries

    with _opened() as journal:
        rows = [] if journal is None else queries.export_rows(journal)
    text = views.as_csv(rows) if format_ is Format.CSV else views.as_json(rows)
    if out is None:
        finish(OperationResult("journal export", {"rows": rows}, human=text))
    views.write(Path(out), text)
    finish(OperationResult("journal export", {"rows": len(rows), "out": out}, human=f"{views.plural(len(rows), 'board')} written to {out}"))


@app.command()
def close(
    board: _Board,
    *,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why: scrapped, lost, or in your own words.", show_default=False)],
) -> None:
    """End a board's open attempt for good. Nothing is undone; what was done stays on record."""
    from infuse_cli.cli import journal_views as views
    from infuse_cli.cli.result import OperationResult, finish
    from infuse_cli.errors import JournalError, UsageError
    from infuse_cli.records import EndAttempt
    from infuse_cli.types import AttemptState

    why = reason.strip()
    if not why:
        raise UsageError("usage.bad-option", "--reason is empty")
    with _there() as journal:
        uuid = _one_board(journal, board)
        found = journal.board(uuid)
        if found is None or found.open is None:
            raise JournalError("journal.not-found", f"board {uuid} has no open attempt to close")
        journal.commit(EndAttempt(attempt=found.open.attempt, state=AttemptState.CLOSED, facts={"closed": {"reason": why}}))
        closed = journal.attempt(found.open.attempt)
    data = {"board": uuid, "attempt": closed.attempt, "reason": why, "before": views.brief(found.open)}
    finish(OperationResult("journal close", data, human=f"Board {uuid} is closed: {why}. What was done to it stays on record."))


@app.command()
def verify() -> None:
    """Check the journal's file and its chain of hashes: what was edited, removed or moved is named."""
    from infuse_cli.cli import journal_views as views
    from infuse_cli.cli.result import OperationResult, finish

    with _there() as journal:
        faults, count, path = journal.verify(), journal.event_count(), journal.path
    if faults:
        raise views.broken(path, faults)
    data = {"sound": True, "events": count, "path": path}
    finish(OperationResult("journal verify", data, human=f"{path} is sound: {views.plural(count, 'event')}, nothing edited, removed or moved."))


@contextmanager
def _there() -> Iterator[SqliteJournal]:
    """The journal. Raises JournalError journal.not-found where there is none."""
    from infuse_cli.cli.context import current
    from infuse_cli.cli.journal_views import operator
    from infuse_cli.journal.store import open_journal

    with open_journal(current().home, operator=operator(), create=False) as journal:
        yield journal


@contextmanager
def _opened() -> Iterator[SqliteJournal | None]:
    """The journal, None where there is none yet: then nothing is on record."""
    from infuse_cli.cli.context import current
    from infuse_cli.journal.database import FILE

    if not (current().home / FILE).exists():
        yield None
        return
    with _there() as journal:
        yield journal


def _one_board(journal: SqliteJournal, text: str) -> str:
    from infuse_cli.errors import JournalError
    from infuse_cli.journal.queries import find_boards

    found = [one.board for one in find_boards(journal, text)]
    if not found:
        raise JournalError("journal.not-found", f"nothing on record fits {text!r}")
    if len(found) > 1:
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        raise JournalError("journal.ambiguous", f"{text!r} fits {len(found)} boards: {', '.join(found[:8])}{more}")
    return found[0]


def _run_id(journal: SqliteJournal, text: str | None) -> str | None:
    from infuse_cli.journal.queries import find_run

    return None if text is None else find_run(journal, text)


def _date(text: str | None) -> str | None:
    from datetime import date

    from infuse_cli.errors import UsageError

    if text is None:
        return None
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise UsageError("usage.bad-option", f"--day is {text!r}, but must be a date such as 2026-03-31") from error
