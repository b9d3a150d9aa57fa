"""`infuse provision`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Port = Annotated[
    list[str] | None,
    typer.Option(
        "--port",
        metavar="PORT",
        help=(
            "Serial port or URL of a board; again for each further board. Slots count from 1 in"
            " this order."
        ),
        show_default=False,
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="File (0600) that holds the CA passphrase.",
        show_default=False,
    ),
]
PassphraseFd = Annotated[
    int | None,
    typer.Option(
        "--passphrase-fd",
        metavar="N",
        help="File descriptor to read the CA passphrase from.",
        show_default=False,
    ),
]
Metadata = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata",
        metavar="KEY=VALUE",
        help="Metadata of the one board; again for each further key.",
        show_default=False,
    ),
]
MetadataFrom = Annotated[
    Path | None,
    typer.Option(
        "--metadata-from",
        metavar="CSV",
        help="Metadata of several boards, keyed by a column imei, uuid or mcuId.",
        show_default=False,
    ),
]


def command(
    *,
    port: Port = None,
    slots: Annotated[
        int | None,
        typer.Option(
            "--slots", metavar="N", min=1, help="At most N boards at a time.", show_default=False
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", metavar="N", min=1, help="End after N boards.", show_default=False),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help=(
                "Take boards as they are plugged in, until q or Ctrl-C, or --count boards. On by"
                " itself on a terminal without --count, --port and --sim."
            ),
        ),
    ] = False,
    sim: Annotated[
        int | None,
        typer.Option(
            "--sim",
            metavar="N",
            min=1,
            max=64,
            help="N virtual boards against a virtual cloud, in a throw-away home.",
            show_default=False,
        ),
    ] = None,
    faults: Annotated[
        str | None,
        typer.Option(
            "--faults",
            metavar="PLAN",
            help="With --sim: what goes wrong, e.g. '2:install=CME527'.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="STEP",
            help="Stop after this step and park the board.",
            show_default=False,
        ),
    ] = None,
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help=(
                "A new identity for a board that PASSed before; the old one is recorded as"
                " superseded."
            ),
        ),
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin an unfinished board anew instead of going on.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Take over occupied slots after putting their digests on record."
        ),
    ] = False,
    replaces: Annotated[
        str | None,
        typer.Option(
            "--replaces",
            metavar="OLD",
            help=(
                "The device that this one board takes the place of: it is retired once the new one"
                " is green."
            ),
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only read: say what would be done.")
    ] = False,
    update_metadata: Annotated[
        bool,
        typer.Option(
            "--update-metadata", help="Overwrite differing metadata of an existing cloud device."
        ),
    ] = False,
    metadata: Metadata = None,
    metadata_from: MetadataFrom = None,
    lot: Annotated[
        str | None, typer.Option("--lot", metavar="NAME", help="Lot on record.", show_default=False)
    ] = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Bring boards into the cloud: plug in and watch them turn green.

    Each board is registered once, makes its key in the modem, gets its certificate, and is read
    back before it is green. A run that was interrupted goes on where it was when it is started
    again.
    """
    from infuse_cli.cli import line_run
    from infuse_cli.cli.result import finish
    from infuse_cli.provisioning import metadata_input
    from infuse_cli.provisioning.request import Options, ProvisionRequest

    metadata_input.check_single(metadata or [], len(port or []), sim)
    options = Options(
        again=again,
        restart=restart,
        replace=replace,
        update_metadata=update_metadata,
        dry_run=dry_run,
        until=metadata_input.step_name(until),
        metadata=metadata_input.pairs(metadata or []),
        metadata_table=metadata_input.table(metadata_from),
    )
    request = ProvisionRequest(
        options, tuple(port or []), slots, count, passphrase_file, passphrase_fd, lot
    )
    single = bool(metadata or replaces)
    request = line_run.watching(request, wished=watch, single=single, sim=sim)
    if replaces is not None:
        from infuse_cli.cli.replacing import replacing

        finish(replacing(replaces, request, simulated=sim is not None))
    if sim is not None:
        finish(line_run.provision_simulated(request, sim, faults))
    finish(line_run.provision(request))
