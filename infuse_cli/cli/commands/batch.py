"""`infuse batch`: many devices from a file, without boards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Many devices from a CSV file, without boards: register, status.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE.csv", help="The rows: mcuId, and if wanted deviceId, name, publicKey, tags, metadata.KEY…", show_default=False)]


@app.command()
def register(
    file: File,
    *,
    concurrency: Annotated[int, typer.Option("--concurrency", metavar="N", min=1, max=64, help="Requests under way at a time.")] = 16,
    rate: Annotated[float | None, typer.Option("--rate", metavar="R", min=0.01, help="At most R requests a second, evenly.", show_default=False)] = None,
    max_failures: Annotated[int | None, typer.Option("--max-failures", metavar="N", min=1, help="Begin no further row after N that differ, are refused or stay unknown.", show_default=False)] = None,
    update: Annotated[bool, typer.Option("--update", help="Give devices that exist the metadata of the file.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad lines out instead of refusing the file.")] = False,
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Where the report goes: CSV, one line a row. [default: reports/ in INFUSE_HOME]", show_default=False)] = None,
) -> None:
    """Register the file's devices in the cloud, each exactly once.

    A row with a name gets a registration token too, which is sealed in the journal until `infuse provision` uses it.
    Running the same command again is how it resumes: what exists is left as it is.
    """
    from infuse_cli.cli import batch_register
    from infuse_cli.cli.result import finish

    finish(batch_register.register(batch_register.Asked(file, concurrency, rate, max_failures, update=update, skip_bad=skip_bad, report=report)))


@app.command()
def status(file: File) -> None:
    """Show what is on record of the file's rows, without asking the cloud."""
    from infuse_cli.cli import batch_status
    from infuse_cli.cli.result import finish

    finish(batch_status.status(file))
