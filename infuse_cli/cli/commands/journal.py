"""`infuse journal`: what happened, board by board."""

from __future__ import annotations

import enum
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infuse_cli.journal.store import SqliteJournal

app = typer.Typer(
    help="What happened, board by board: list, show, verify, backup.", no_args_is_help=True
)


class Format(enum.StrEnum):
    """How rows are written."""

    CSV = "csv"
    JSON = "json"


class By(enum.StrEnum):
    """What a summary is grouped by."""

    RUN = "run"
    DAY = "day"
    PROFILE = "profile"


_Board = Annotated[
    str,
    typer.Argument(
        metavar="BOARD",
        show_default=False,
        help=(
            "UUID, serial number, IMEI, mcuId, device id of either cloud, certificate serial,"
            " attempt or run id; of an id, its beginning or end is enough."
        ),
    ),
]
_File = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="File (0600) that holds the passphrase of the sealed file.",
        show_default=False,
    ),
]
_Fd = Annotated[
    int | None,
    typer.Option(
        "--passphrase-fd",
        metavar="N",
        help="File descriptor to read that passphrase from.",
        show_default=False,
    ),
]
_CaFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="File (0600) that holds the CA passphrase.",
        show_default=False,
    ),
]
_CaFd = Annotated[
    int | None,
    typer.Option(
        "--passphrase-fd",
        metavar="N",
        help="File descriptor to read the CA passphrase from.",
        show_default=False,
    ),
]
_Run = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="Only this run: its id or the beginning of it.",
        show_default=False,
    ),
]


@app.command("list")
def list_boards(
    *,
    only_open: Annotated[
        bool, typer.Option("--open", help="Only boards that a later run goes on with.")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="The newest so many boards; 0 for all.")] = 50,
    run: _Run = None,
) -> None:
    """List the boards on record, each with its newest attempt; the last one was begun last."""
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views.journal import boards_listed
    from infuse_cli.journal import queries

    with _opened() as journal:
        if journal is None:
            finish(boards_listed([], {}, [], only_open=only_open, limit=limit))
        found = queries.newest_attempts(journal, only_open=only_open, run=_run_id(journal, run))
        imeis = queries.imeis(journal)
        manual = [] if only_open or run is not None else queries.only_manual(journal)
    finish(boards_listed(found, imeis, manual, only_open=only_open, limit=limit))


@app.command()
def show(
    board: _Board,
    *,
    events: Annotated[
        bool, typer.Option("--events", help="Also every event of the chain.")
    ] = False,
) -> None:
    """Show everything on record about one board; the serial transcript too where an attempt
    failed.
    """
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views.journal import board_shown
    from infuse_cli.journal.board_json import record

    with _there() as journal:
        found = record(journal, _one_board(journal, board))
    finish(board_shown(found, events=events))


@app.command()
def summary(
    *,
    by: Annotated[By, typer.Option(help="Group by run, day (local time) or profile.")] = By.RUN,
    run: _Run = None,
    day: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM-DD", help="Only this day, local time.", show_default=False),
    ] = None,
) -> None:
    """Totals, yield, first-pass yield, and what fails most. Boards are counted, not attempts."""
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views.journal import boards_summed
    from infuse_cli.journal import queries

    wanted = _date(day)
    with _opened() as journal:
        if journal is None:
            finish(boards_summed([], by.value))
        found = queries.summaries(journal, by=by.value, run=_run_id(journal, run), day=wanted)
    finish(boards_summed(found, by.value))


@app.command()
def export(
    *,
    format_: Annotated[Format, typer.Option("--format", help="csv or json.")] = Format.CSV,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Where to write it; default: standard output.", show_default=False
        ),
    ] = None,
) -> None:
    """One row a board: identity, ids, certificate, result, who, when, and its metadata."""
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import journal as views
    from infuse_cli.effects.results import Results
    from infuse_cli.journal import queries

    with _opened() as journal:
        rows = [] if journal is None else queries.export_rows(journal)
    text = views.as_csv(rows) if format_ is Format.CSV else views.as_json(rows)
    if out is None:
        finish(views.rows_printed(rows, text))
    Results(current().settings).write(Path(out), text.encode())
    finish(views.rows_written(len(rows), out))


@app.command()
def close(
    board: _Board,
    *,
    reason: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="Why: scrapped, lost, or in your own words.", show_default=False
        ),
    ],
) -> None:
    """End a board's open attempt for good. Nothing is undone; what was done stays on record."""
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views.journal import attempt_closed
    from infuse_cli.errors import UsageError
    from infuse_cli.journal.closing import close_attempt

    why = reason.strip()
    if not why:
        raise UsageError("usage.bad-option", "--reason is empty")
    with _there() as journal:
        before = close_attempt(journal, _one_board(journal, board), why)
    finish(attempt_closed(before, why))


@app.command()
def reconcile(
    *,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="WHEN",
            help="Only what PASSed since: 24h, 7d, 2026-03-31, or a time with its zone.",
            show_default=False,
        ),
    ] = None,
    clock: Annotated[
        bool,
        typer.Option(
            "--clock",
            help=(
                "Only this: take this machine's clock for right, and set aside, on record, a newer"
                " time that a wrong clock left."
            ),
        ),
    ] = False,
) -> None:
    """Compare every PASS with the cloud, by reading only: lists what is missing, differs, was never
    heard, or is not ACTIVE.

    Each board is looked up where its own run's profile says. Exit 0 where all is well, 11 where
    anything is not.
    """
    from datetime import UTC, datetime

    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.since import moment
    from infuse_cli.cli.views import reconcile as views
    from infuse_cli.devices import reconcile as work

    start = None if since is None else moment(since, "--since", datetime.now(UTC))
    progress = views.Progress()
    with _opened() as journal, progress:
        if clock:
            from infuse_cli.cli.views.journal import clock_reconciled

            finish(clock_reconciled(None if journal is None else journal.trust_clock(None)))
        result = work.reconcile(current().settings, journal, start, progress.show)
    finish(views.reconciled(result))


@app.command()
def verify(
    *,
    head: Annotated[
        Path | None,
        typer.Option(
            "--head",
            metavar="FILE",
            help=(
                "A signed head that was kept elsewhere: a chain that was cut or made anew is found"
                " too."
            ),
            show_default=False,
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            metavar="FILE",
            help=(
                "Root certificate that vouches for the head's signature. [default: those of the"
                " profile's CA and of the CAs in this home]"
            ),
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check the file, the chain of hashes, and all that `show` and `list` read against it.

    What was edited, removed, moved or put in is named.
    """
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views.maintenance import verified
    from infuse_cli.journal.audit import corrupt_error
    from infuse_cli.maintenance.heads import read_head

    checked = None if head is None else read_head(current().settings, head, root)
    with _there() as journal:
        faults = journal.verify(None if checked is None else checked.heads)
        events, path = journal.event_count(), journal.path
    if faults:
        raise corrupt_error(path, faults)
    finish(verified(path, events, checked))


@app.command()
def head(
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Where to write it. Keep it off this bench.",
            show_default=False,
        ),
    ],
    ca: Annotated[
        str | None,
        typer.Option(
            "--ca",
            metavar="NAME|FOLDER",
            help="The CA whose intermediate signs. [default: the profile's, else 'default']",
            show_default=False,
        ),
    ] = None,
    passphrase_file: _CaFile = None,
    passphrase_fd: _CaFd = None,
) -> None:
    """Sign what the journal ends with now, for `journal verify --head` later on."""
    from infuse_cli.ca import common as ca_common
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views.maintenance import head_signed
    from infuse_cli.maintenance.heads import sign_head

    settings = current().settings
    passphrase = ca_common.passphrase(
        settings, ca, ca_common.PassphraseOptions(passphrase_file, passphrase_fd)
    )
    finish(head_signed(sign_head(settings, out, ca_common.folder_of(settings, ca), passphrase)))


@app.command()
def backup(
    out: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Where to write it; in a folder it gets a name with the date.",
            show_default=False,
        ),
    ],
    *,
    seal: Annotated[
        bool,
        typer.Option(
            "--seal", help="Seal it under a passphrase, asked for unless an option gives it."
        ),
    ] = False,
    passphrase_file: _File = None,
    passphrase_fd: _Fd = None,
) -> None:
    """Write a verified copy as of one moment; the line may go on meanwhile."""
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views.maintenance import backed_up
    from infuse_cli.keys.file_passphrase import FilePassphrase
    from infuse_cli.maintenance import backup as work

    settings = current().settings
    passphrase = FilePassphrase(passphrase_file, passphrase_fd, settings.prompt)
    finish(backed_up(work.backup(settings, out, passphrase, seal=seal)))


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="What `infuse journal backup` or `infuse batch export --for-bench` wrote.",
            show_default=False,
        ),
    ],
    *,
    passphrase_file: _File = None,
    passphrase_fd: _Fd = None,
) -> None:
    """Take in a backup, or the devices and registration tokens that another bench sealed for this
    one.

    A backup goes into an empty home or over a journal that it continues; two chains are never
    merged. Tokens are used by `infuse provision` instead of minting others; importing them twice is
    as good as once.
    """
    from infuse_cli.batch.file_kind import kind_of
    from infuse_cli.batch.handover import MAGIC
    from infuse_cli.batch.handover_import import take_over
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import batch as batch_views
    from infuse_cli.cli.views.maintenance import restored
    from infuse_cli.keys.file_passphrase import FilePassphrase
    from infuse_cli.maintenance import backup as work

    settings = current().settings
    passphrase = FilePassphrase(passphrase_file, passphrase_fd, settings.prompt)
    kinds = {
        work.PLAIN: lambda: restored(work.restore(settings, file, passphrase, sealed=False)),
        work.SEALED: lambda: restored(work.restore(settings, file, passphrase, sealed=True)),
        MAGIC: lambda: batch_views.taken_over(take_over(settings, file, passphrase)),
    }
    finish(kind_of(file, kinds)())


@app.command()
def rekey() -> None:
    """Make a new sealing key and seal every secret anew. Stopped at any point it is run again."""
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views.maintenance import rekeyed
    from infuse_cli.maintenance import rekey as work

    finish(rekeyed(work.rekey(current().settings)))


@contextmanager
def _there() -> Iterator[SqliteJournal]:
    """The journal. Raises JournalError journal.not-found where there is none."""
    from infuse_cli.cli.context import current
    from infuse_cli.config.bench import login_name
    from infuse_cli.journal.store import open_journal

    with open_journal(current().home, operator=login_name(), create=False) as journal:
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
        raise JournalError("journal.not-found", f"nothing on record fits {_shortened(text)!r}")
    if len(found) > 1:
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        raise JournalError(
            "journal.ambiguous", f"{text!r} fits {len(found)} boards: {', '.join(found[:8])}{more}"
        )
    return found[0]


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}…"


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
        raise UsageError(
            "usage.bad-option", f"--day is {text!r}, but must be a date such as 2026-03-31"
        ) from error
