"""`infuse batch`: many devices from a file, without boards."""

from __future__ import annotations

import enum
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from infuse_cli.batch.export import ExportRequest
    from infuse_cli.settings import Settings


class Format(enum.StrEnum):
    """What `export` writes."""

    CSV = "csv"
    JSON = "json"
    ONBOARD = "onboard"


app = typer.Typer(
    help="Many devices from a CSV: plan, register, status, export.", no_args_is_help=True
)

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE.csv",
        help="The rows: mcuId, and if wanted deviceId, name, publicKey, tags, metadata.KEY…",
        show_default=False,
    ),
]


@app.command()
def plan(
    file: File,
    *,
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="As `register --update` would: devices that differ get the metadata of the file.",
        ),
    ] = False,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="As `register --skip-bad` would: leave bad lines out."),
    ] = False,
) -> None:
    """Check the file and say what `register` would do. Reads the cloud, writes nothing anywhere."""
    from infuse_cli import batch
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.signals import StopOnSignals
    from infuse_cli.cli.views import batch as views
    from infuse_cli.clock import RunClock

    request, clock = batch.PlanRequest(file, update, skip_bad), RunClock()
    with StopOnSignals(clock):
        result = batch.plan(current().settings, request, clock, on_outage=views.tell_outage)
    finish(views.planned(result))


@app.command()
def register(
    file: File,
    *,
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency", metavar="N", min=1, max=64, help="Requests under way at a time."
        ),
    ] = 16,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            metavar="R",
            min=0.01,
            help="At most R requests a second, evenly.",
            show_default=False,
        ),
    ] = None,
    max_failures: Annotated[
        int | None,
        typer.Option(
            "--max-failures",
            metavar="N",
            min=1,
            help="Begin no further row after N that differ, are refused or stay unknown.",
            show_default=False,
        ),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Give devices that exist the metadata of the file.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad lines out instead of refusing the file.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Where the report goes: CSV, one line a row. [default: reports/ in INFUSE_HOME]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Register the file's devices in the cloud, each exactly once.

    A row with a name gets a registration token too, which is sealed in the journal until `infuse
    provision` uses it. Running the same command again is how it resumes: what exists is left as it
    is.
    """
    from contextlib import closing

    from infuse_cli import batch
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.signals import StopOnSignals
    from infuse_cli.cli.views import batch as views
    from infuse_cli.cli.views.batch_events import make_events
    from infuse_cli.clock import RunClock

    request = batch.RegisterRequest(file, concurrency, rate, max_failures, update, skip_bad, report)
    invocation, clock = current(), RunClock()
    with StopOnSignals(clock), closing(make_events(invocation)) as events:
        result = batch.register(
            invocation.settings, request, clock, events, on_outage=views.tell_outage
        )
    finish(views.registered(result))


@app.command()
def status(file: File) -> None:
    """Show what is on record of the file's rows, without asking the cloud."""
    from infuse_cli import batch
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import batch as views

    finish(views.status(batch.status(current().settings, file)))


@app.command()
def export(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE.csv]",
            help="Only the rows of this file. [default: all on record]",
            show_default=False,
        ),
    ] = None,
    *,
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            help=(
                "csv or json: the ids. onboard: nRF Cloud's onboard.csv, for boards with a"
                " certificate."
            ),
        ),
    ] = Format.CSV,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Where to write it. [default: standard output]",
            show_default=False,
        ),
    ] = None,
    sub_type: Annotated[
        str,
        typer.Option(
            "--sub-type",
            metavar="TEXT",
            help="onboard: sub-type of the devices.",
            show_default=False,
        ),
    ] = "",
    fw_types: Annotated[
        str,
        typer.Option(
            "--fw-types",
            metavar="APP|MODEM",
            help="onboard: firmware that nRF Cloud may update.",
            show_default=False,
        ),
    ] = "",
    for_bench: Annotated[
        Path | None,
        typer.Option(
            "--for-bench",
            metavar="FILE",
            help="Seal ids and registration tokens for `infuse journal import` at another bench.",
            show_default=False,
        ),
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(
            "--passphrase-file",
            metavar="FILE",
            help="--for-bench: passphrase, in a 0600 file.",
            show_default=False,
        ),
    ] = None,
    passphrase_fd: Annotated[
        int | None,
        typer.Option(
            "--passphrase-fd",
            metavar="N",
            help="--for-bench: passphrase from a file descriptor.",
            show_default=False,
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="--for-bench: tokens that were handed over before, too.")
    ] = False,
    take_back: Annotated[
        bool,
        typer.Option(
            "--take-back",
            help="Revoke tokens that were handed over; `batch register` then mints others.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="--take-back: do not ask.")] = False,
) -> None:
    """Export what came of rows: their ids, nRF Cloud's onboard.csv, or a sealed hand-over to
    another bench.

    A token that is handed over is not used on this bench any more, and not handed over twice.
    """
    from infuse_cli import batch
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import batch as views
    from infuse_cli.keys.file_passphrase import FilePassphrase

    settings = current().settings
    passphrase = FilePassphrase(passphrase_file, passphrase_fd, settings.prompt)
    sealing = passphrase.given or again
    _check_export(sealing, take_back, yes, for_bench, out)
    if take_back:
        finish(views.taken_back(batch.take_back(settings, batch.TakeBackRequest(file, yes))))
    if for_bench is not None:
        sealed = batch.HandOverRequest(file, for_bench, passphrase, again)
        finish(views.handed_over(batch.hand_over(settings, sealed)))
    request = batch.ExportRequest(file, out, sub_type=sub_type, fw_types=fw_types)
    _export_rows(settings, request, format_)


def _check_export(
    sealing: bool, take_back: bool, yes: bool, for_bench: Path | None, out: Path | None
) -> None:
    """Refuse options of `export` that do not go together; `sealing` are those of a passphrase."""
    from infuse_cli.errors import UsageError

    elsewhere = for_bench is not None or out is not None
    refusals = (
        (take_back and (sealing or elsewhere), "--take-back goes with FILE.csv and --yes alone"),
        (yes and not take_back, "--yes goes with --take-back"),
        (
            sealing and for_bench is None,
            "--passphrase-file, --passphrase-fd and --again go with --for-bench",
        ),
        (
            for_bench is not None and out is not None,
            "--for-bench names its file itself, so --out has nothing to say",
        ),
    )
    for is_wrong, why in refusals:
        if is_wrong:
            raise UsageError("usage.bad-option", why)


def _export_rows(settings: Settings, request: ExportRequest, form: Format) -> NoReturn:
    from infuse_cli.batch import export as exports
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import batch as views

    if form is Format.ONBOARD:
        finish(views.onboarded(exports.export_onboarding(settings, request)))
    request = replace(request, form=exports.Form(form.value))
    result = exports.export_ids(settings, request)
    for_people = current().output == "human"
    finish(views.exported_ids(result, request.form, for_people=for_people))
